"""Carrying out plans: what is sent, and that a command that was interrupted at any point can be called again."""

from dataclasses import replace
from typing import Any

import pytest

from tests.legacy.api import ACCOUNT, SECRETS, Api, metadata
from tests.legacy.retired import INVALID, LAST_USED, TODAY, Cluster, day
from tests.scan.small_cluster import NOW, read
from webhook.cluster.legacy_writer import LegacyWriter, own_username
from webhook.cluster.transport import ApiError
from webhook.core.selectors import Globs
from webhook.legacy.metadata import RECORD, RetirableMetadata
from webhook.legacy.plan import ChangeResult, Command, Selection, make_plan
from webhook.legacy.record import Author

ALL = Selection(namespaces=Globs(("shop",)), reason="wave 1")


def named(*names: str, forced: bool = False) -> Selection:
    titles = frozenset(f"shop/{name}" for name in names)
    return Selection(forced=titles) if forced else Selection(names=titles)


def run(api: Api, command: Command, selection: Selection = ALL, after_days: int = 0) -> list[ChangeResult]:
    """Run a command, as the command line does it."""
    secrets = [read(RetirableMetadata, {"metadata": metadata}) for metadata in api.secrets.values()]
    report = Cluster(*secrets).report(after_days)
    plan = make_plan(command, report, selection, deleted=frozenset(f"shop/{name}" for name in api.manifests))
    assert not plan.refused, plan.refused
    writer = LegacyWriter(api, Author("alice", NOW, "wave 1"), api.keep)
    if command is Command.DISABLE:
        writer.complete_events(secret for secret in report.secrets if secret.title in plan.done)
    return [*writer.carry_out(plan)]


def disabled(*names: str) -> Api:
    api = Api(*names)
    run(api, Command.DISABLE)
    return api


def disabled_and_used(*names: str) -> Api:
    """Return Secrets whose tokens are still used; other managers have changed the record of one."""
    api = disabled(*names)
    for secret in api.secrets.values():
        secret["labels"][LAST_USED] = TODAY.isoformat()
    first, *_ = api.applied.values()
    first["annotations"] -= {"tokenguard/disabled-reason", "tokenguard/disabled-at"}
    return api


def disabled_by_others(*names: str) -> Api:
    api = Api(*names)
    for secret in api.secrets.values():
        secret["labels"][INVALID] = day(9)
    return api


NAMES = ("a", "b")
BEFORE = {Command.DISABLE: Api, Command.RESTORE: disabled, Command.DELETE: disabled}


def state(api: Api) -> Any:
    """Return what a command leaves behind, without versions."""
    shown = {
        name: {key: value for key, value in metadata.items() if key != "resourceVersion"}
        for name, metadata in api.secrets.items()
    }
    return shown, api.events.keys(), {name: metadata["metadata"]["name"] for name, metadata in api.manifests.items()}


@pytest.mark.parametrize("has_effect", [False, True], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize(("command", "before", "selection"), [
    pytest.param(Command.DISABLE, Api, named(*NAMES), id="disable"),
    pytest.param(Command.DISABLE, lambda *names: Api(*names, "c", "d"), replace(ALL, max_count=2), id="disable a wave"),
    pytest.param(Command.RESTORE, disabled, named(*NAMES), id="restore"),
    pytest.param(Command.RESTORE, disabled_and_used, Selection(still_used=True), id="restore still used"),
    pytest.param(Command.RESTORE, disabled_by_others, named(*NAMES, forced=True), id="restore others'"),
    pytest.param(Command.DELETE, disabled, named(*NAMES), id="delete"),
    pytest.param(Command.DELETE, disabled, ALL, id="delete all"),
])  # fmt: skip
@pytest.mark.covers("failure-modes: retiring interrupted")
def test_interrupted_command_can_be_called_again(command, before, selection, has_effect) -> None:
    whole = before(*NAMES)
    begun = len(whole.sent)
    run(whole, command, selection)
    requests = len(whole.sent) - begun
    assert requests == {Command.DISABLE: 4, Command.RESTORE: 6, Command.DELETE: 4}[command]
    for number in range(1, requests + 1):
        api = before(*NAMES)
        api.fails_at, api.fails_after_effect = begun + number, has_effect
        with pytest.raises(ApiError, match="lost"):
            run(api, command, selection)
        api.fails_at = None
        assert [result for result in run(api, command, selection) if result.error] == []
        assert state(api) == state(whole), number


def test_disable_labels_and_records_in_one_request() -> None:
    api = Api("a")
    api.secrets["a"]["labels"][LAST_USED] = day(90)
    assert run(api, Command.DISABLE) == [ChangeResult("shop/a")]
    assert api.sent == [("PATCH", f"{SECRETS}/a"), ("POST", "/api/v1/namespaces/shop/events")]
    assert api.secrets["a"]["labels"] == {LAST_USED: day(90), INVALID: TODAY.isoformat()}
    assert api.secrets["a"]["annotations"] == {
        **ACCOUNT, "tokenguard/disabled-by": "alice", "tokenguard/disabled-at": "2026-11-24T12:00:00Z",
        "tokenguard/disabled-reason": "wave 1", "tokenguard/disabled-last-used": day(90),
    }  # fmt: skip
    [event] = api.events.values()
    assert (event["type"], event["reason"]) == ("Warning", "LegacyTokenDisabled")
    assert event["involvedObject"] == {
        "apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "a", "uid": "uid-a",
    }  # fmt: skip
    assert 'alice disabled the token of ServiceAccount "app"' in event["message"]
    assert "reason: wave 1; to undo it: tokenguard legacy restore shop/a" in event["message"]


def test_restore_leaves_nothing_of_the_record() -> None:
    api = disabled("a")
    api.secrets["a"]["annotations"]["team"] = "x"
    api.applied["a"]["annotations"].remove("tokenguard/disabled-reason")  # kubectl annotate has taken it over
    run(api, Command.RESTORE)
    assert api.secrets["a"]["annotations"] == {**ACCOUNT, "team": "x"}
    assert api.secrets["a"]["labels"] == {}
    assert [event["type"] for event in api.events.values()] == ["Warning", "Normal"]


def test_restore_removes_the_label_of_another_manager_if_forced() -> None:
    api = disabled_by_others("a")
    run(api, Command.RESTORE, named("a", forced=True))
    assert api.secrets["a"] == metadata("a") | {"resourceVersion": "3"}


def test_delete_keeps_a_manifest_without_data() -> None:
    api = disabled("a")
    api.secrets["a"]["annotations"] |= {
        "kubectl.kubernetes.io/last-applied-configuration": "{}", "copy": "eyJhbGciOi", "copy64": "WlhsS2FH... ZXlKaGJ",
        "team": "x",
    }  # fmt: skip
    run(api, Command.DELETE)
    assert api.secrets == {}
    manifest = api.manifests["a"]
    assert (manifest["kind"], manifest["type"]) == ("Secret", "kubernetes.io/service-account-token")
    assert not {"data", "stringData"} & manifest.keys()
    annotations = manifest["metadata"]["annotations"]
    assert annotations.keys() == {*ACCOUNT, *RECORD, "team", "tokenguard/deleted-by", "tokenguard/deleted-at"}


@pytest.mark.covers("failure-modes: Secret changed meanwhile")
def test_changed_secret_is_left_alone() -> None:
    for command in Command:
        api = BEFORE[command](*NAMES)
        secrets = [read(RetirableMetadata, {"metadata": metadata}) for metadata in api.secrets.values()]
        plan = make_plan(command, Cluster(*secrets).report(0), Selection(names=frozenset({"shop/a", "shop/b"})))
        api.secrets["a"]["resourceVersion"] = "99"
        before = dict(api.secrets["a"])
        first, second = LegacyWriter(api, Author("alice", NOW, "wave 1"), api.keep).carry_out(plan)
        assert "it has changed since the plan was made: run the command again" in first.error
        assert second.error == ""
        assert api.secrets["a"] == before
        assert "a" not in api.manifests


def test_refused_event_does_not_stop_the_command() -> None:
    api = Api("a")
    api.errors["/api/v1/namespaces/shop/events"] = ApiError(403, "HTTP 403: no")
    assert run(api, Command.DISABLE) == [ChangeResult("shop/a", note="no Event recorded: HTTP 403: no")]
    assert INVALID in api.secrets["a"]["labels"]


def test_unwritable_folder_ends_the_command_before_deletions() -> None:
    api = disabled("a")

    def keep(_secret, _manifest) -> None:
        raise OSError(28, "No space left on device")

    api.keep = keep
    with pytest.raises(ApiError, match="cannot keep the manifest of shop/a: No space left on device"):
        run(api, Command.DELETE)
    assert [*api.secrets] == ["a"]


@pytest.mark.parametrize(("error", "name"), [(None, "alice"), (ApiError(403, "no"), "unknown user")], ids=str)
def test_own_username_is_requested(error, name) -> None:
    api = Api()
    if error:
        api.errors["/apis/authentication.k8s.io/v1/selfsubjectreviews"] = error
    assert own_username(api) == name
