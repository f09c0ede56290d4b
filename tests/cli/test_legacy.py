"""The `legacy` commands: what they ask for, show and return."""

import contextlib
import datetime as dt
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from tests.audit.log_lines import labelled, refused
from tests.legacy.api import ACCOUNT, Api
from tests.legacy.retired import INVALID
from webhook.cli import legacy, legacy_changes, main
from webhook.cluster.transport import ApiError

TRACKING = "/api/v1/namespaces/kube-system/configmaps"
SINCE = {"metadata": {"name": "tracking"}, "data": {"since": "2020-01-01"}}


@pytest.fixture
def api(monkeypatch):
    api = Api("a", "b")
    api.now = lambda: dt.datetime.now(dt.UTC)  # a scan uses the local clock
    api.lists[TRACKING] = [SINCE]
    for module in (legacy, legacy_changes):
        monkeypatch.setattr(module, "connected", lambda *_: contextlib.nullcontext(api))
    return api


def run(*arguments: str, status: int = 0, given: str | None = None):
    done = CliRunner().invoke(main, ["legacy", *arguments], input=given)
    assert done.exit_code == status, done.output
    return done


def test_list_shows_text_and_json(api) -> None:
    assert "Secrets    2 legacy: 2 unused\n" in run("list", status=1).stdout
    report = json.loads(run("list", "-o", "json", status=1).stdout)
    validate("list", report)
    assert [(secret["name"], secret["state"]) for secret in report["secrets"]] == [("a", "unused"), ("b", "unused")]
    api.secrets.clear()
    run("list")
    assert {method for method, _ in api.sent} == {"GET"}


def validate(command: str, document) -> None:
    """Check a document against the schema that the command prints, which describes every member and no others."""
    schema = json.loads(run(command, "--schema").stdout)
    for part in (schema, *schema["$defs"].values()):
        if part.get("type") == "object":
            part["additionalProperties"] = False
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(document)


@pytest.mark.usefixtures("api")
def test_list_folds_secrets_with_the_same_details() -> None:
    assert "\n  shop/a, shop/b: account app, " in run("list", status=1).stdout
    assert run("list", "-v", status=1).stdout.count(": account app, ") == 2


def test_table_has_a_line_for_each_secret(api) -> None:
    api.secrets["b"]["labels"] = {"kubernetes.io/legacy-token-last-used": f"{api.now():%Y-%m-%d}"}
    lines = run("list", "-o", "table", status=1).stdout.splitlines()
    assert [re.split(" {2,}", line) for line in lines] == [
        ["SECRET", "STATE", "LAST USED", "PERMISSIONS", "ACCOUNT", "REFERENCED BY"],
        ["shop/b", "in use", f"{api.now():%Y-%m-%d}", "-", "app", "-"],
        ["shop/a", "unused", "-", "-", "app", "-"],
    ]


def test_plan_names_the_workloads_that_refer_to_a_secret(api) -> None:
    volume = {"name": "t", "secret": {"secretName": "a"}}
    template = {"spec": {"containers": [{"name": "main"}], "volumes": [volume]}}
    spec = {"jobTemplate": {"spec": {"template": template}}}
    job = {"metadata": {"name": "nightly", "namespace": "shop"}, "spec": spec}
    api.lists["/apis/batch/v1/namespaces/shop/cronjobs"] = [job]
    disable = ("disable", "-n", "shop", "--reason", "r", "--dry-run")
    assert "Not selected (1)\n  shop/a: CronJob/nightly refers to it, in a template" in run(*disable).stdout
    shown = run(*disable, "--force", "shop/a").stdout
    assert "; referenced by CronJob/nightly\n  shop/b: " in shown
    assert "Workloads refer to some of them" in shown
    assert "Workloads refer" not in run(*disable).stdout


def test_plan_shows_ten_reasons_why_secrets_are_not_selected(api) -> None:
    for number in range(12):
        used = (api.now() - dt.timedelta(days=number)).date().isoformat()
        copied = {**api.secrets["b"], "name": f"c{number:02}"}
        api.secrets[copied["name"]] = {**copied, "labels": {"kubernetes.io/legacy-token-last-used": used}}
    lines = run("disable", "-n", "shop", "--dry-run").stdout.splitlines()
    begin = lines.index("Not selected (12)")
    assert len([line for line in lines[begin:] if line.startswith("  shop/c")]) == 10
    assert lines[-1] == "  and 2 more; --dry-run --output json has all"


def test_list_of_unreadable_secrets_is_a_failure(api) -> None:
    api.errors["/api/v1/secrets"] = ApiError(403, "HTTP 403: no")
    shown = run("list", status=2).stdout
    assert "not read: secrets: HTTP 403: no" in shown
    assert "Secrets    ? legacy: they could not be read\n" in shown


def test_list_and_disable_agree_about_a_new_secret(api) -> None:
    api.secrets["a"]["creationTimestamp"] = f"{api.now():%Y-%m-%dT%H:%M:%SZ}"
    shown = run("list", status=1).stdout
    assert "\ntoo early to tell: wait until no use is recorded for --unused-days (1)\n  shop/a: " in shown
    refused = run("disable", "shop/a", "--reason", "r", "--dry-run", status=1).stdout
    assert f"shop/a: it was created on {api.now().date()}, within --unused-days 30" in refused


@pytest.mark.parametrize("arguments", [
    pytest.param(("disable", "--yes", "--reason", "r"), id="no selection"),
    pytest.param(("disable", "--yes", "shop/a", "--reason", "two\nlines"), id="two lines"),
    pytest.param(("disable", "--yes", "shop/a", "--reason", "r" * 501), id="long reason"),
    pytest.param(("disable", "--yes", "a", "--reason", "r"), id="no namespace"),
    pytest.param(("disable", "--yes", "shop/../a", "--reason", "r"), id="no name"),
    pytest.param(("restore", "shop/a"), id="nobody to ask"),
    pytest.param(("delete", "--force", "a", "--yes"), id="force without a namespace"),
])  # fmt: skip
def test_usage_errors_change_nothing(api, arguments) -> None:
    run(*arguments, status=2)
    assert api.sent == []


def test_disable_asks_for_a_selection_before_a_reason(api) -> None:
    assert "error: name Secrets as NAMESPACE/NAME, or select them" in run("disable", "--yes", status=2).stderr
    assert "error: missing option --reason\n" in run("disable", "--yes", "shop/a", status=2).stderr
    assert api.sent == []


def test_plan_of_a_dry_run_needs_no_reason(api) -> None:
    assert "Plan: disable 1 legacy Secret in" in run("disable", "shop/a", "--dry-run").stdout
    assert {method for method, _ in api.sent} == {"GET"}


def test_plan_says_how_many_kube_system_keeps_out(api) -> None:
    api.secrets["system"] = {**api.secrets["a"], "name": "system", "namespace": "kube-system"}
    lines = run("disable", "-n", "*", "--dry-run").stdout.splitlines()
    assert lines[0].startswith("Plan: disable 2 legacy Secrets in ")
    assert lines[-2:] == [
        "Left out (1 of 3 legacy Secrets)", "  1: of kube-system (select them by --namespace kube-system)",
    ]  # fmt: skip


def test_forced_change_shows_what_is_overridden(api) -> None:
    api.secrets["a"]["labels"]["kubernetes.io/legacy-token-last-used"] = day = (
        dt.datetime.now(dt.UTC).date().isoformat()
    )
    objection = f"\n  shop/a: it was used on {day}, within --unused-days 30"
    refused = run("disable", "shop/a", "--reason", "r", "--dry-run", status=1)
    assert f"\nRefused (1){objection} (--force shop/a overrides it)\n" in refused.stdout
    forced = run("disable", "--force", "shop/a", "--reason", "r", "--dry-run")
    assert f"\nForced (1){objection}\n" in forced.stdout


def test_dry_run_shows_the_plan_alone(api) -> None:
    arguments = ("disable", "-n", "shop", "--reason", "r", "--dry-run")
    assert "Plan: disable 2 legacy Secrets in https://api, context staging\n" in run(*arguments).stdout
    shown = json.loads(run(*arguments, "-o", "json").stdout)
    assert [secret["name"] for secret in shown["plan"]["secrets"]] == ["a", "b"]
    assert (shown["dryRun"], shown["results"]) == (True, [])
    assert {method for method, _ in api.sent} == {"GET"}


def test_commands_retire_a_secret(api, tmp_path) -> None:
    done = run("disable", "shop/a", "--reason", "wave 1", "--yes")
    assert done.stdout.endswith("disabled shop/a\n")
    assert api.secrets["a"]["labels"].keys() == {INVALID}
    assert api.secrets["b"]["labels"] == {}
    assert "Already disabled (1): shop/a" in run("disable", "shop/a", "--reason", "again", "--yes").stdout
    shown = json.loads(run("restore", "shop/a", "--yes", "-o", "json").stdout)
    assert shown["results"] == [{"secret": "shop/a", "error": "", "note": ""}]
    assert api.secrets["a"]["annotations"] == ACCOUNT
    assert "Not disabled (1): shop/a" in run("restore", "shop/a", "--yes").stdout
    run("disable", "shop/a", "--reason", "wave 2", "--yes")
    refused = run("delete", "shop/a", "--yes", "--keep", str(tmp_path), status=1)
    assert "less than --after-days 14 ago" in refused.stdout
    done = run("delete", "shop/a", "--yes", "--keep", str(tmp_path), "--after-days", "0")
    assert done.stdout.endswith(f"\ntheir manifests, without data, are in {tmp_path}\n")
    assert re.search(
        r"\nDisabled only today, the last at \d\d:\d\d UTC \(1\): shop/a\nUses are recorded by day", done.stdout
    )
    [manifest] = tmp_path.rglob("*.yaml")
    assert manifest.relative_to(tmp_path) == Path("shop/a.uid-a.yaml")
    assert manifest.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load(manifest.read_text())["metadata"]["annotations"]["tokenguard/disabled-reason"] == "wave 2"
    assert [*api.secrets] == ["b"]
    again = run("delete", "shop/a", "shop/b", "--yes", "--keep", str(tmp_path), status=1)
    assert "Already deleted, or being deleted (1): shop/a" in again.stdout


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 2), ("", 2)], ids=["yes", "no", "end"])
def test_command_asks_on_a_terminal(api, monkeypatch, answer, status) -> None:
    monkeypatch.setattr(legacy_changes, "_is_terminal", lambda: True)
    done = run("disable", "shop/a", "--reason", "r", status=status, given=answer)
    assert "Disable them? [y/N]" in done.stderr
    assert bool(api.secrets["a"]["labels"]) is not bool(status)
    assert ("\nnothing was changed\n" in done.stderr) is bool(status)


def test_plan_for_nothing_asks_nothing(api, monkeypatch) -> None:
    monkeypatch.setattr(legacy_changes, "_is_terminal", lambda: True)
    assert "Plan: restore 0 legacy Secrets" in run("restore", "-n", "shop").stdout
    assert {method for method, _ in api.sent} == {"GET"}


def test_plan_for_nothing_says_what_leaves_out_each_secret(api) -> None:
    shown = run("restore", "-n", "shop", "--dry-run").stdout
    assert shown.splitlines()[1:] == ["Left out (2 of 2 legacy Secrets)", "  2: not disabled"]
    used = dt.datetime.now(dt.UTC).date().isoformat()
    api.secrets["a"]["labels"]["kubernetes.io/legacy-token-last-used"] = used
    arguments = ("disable", "--reason", "r", "--dry-run")
    shown = run(*arguments, "--unused-days", "9", "--account", "app").stdout
    assert "Left out" not in shown  # the plan has the other one
    shown = run(*arguments, "--unused-days", "9", "--account", "robot").stdout
    assert shown.splitlines()[1:] == ["Left out (2 of 2 legacy Secrets)", "  2: of other accounts (--account)"]
    del api.secrets["b"]
    assert "  1: used within --unused-days 9, or not known" in run(*arguments, "--unused-days", "9").stdout
    api.secrets.clear()
    assert "There are no legacy Secrets in the namespaces" in run(*arguments, "--unused-days", "9").stdout


@pytest.mark.parametrize("selected", ["--namespace=*", "shop/a"])
@pytest.mark.parametrize("command", ["restore", "delete"])
def test_change_without_a_list_of_secrets_fails(api, command, selected) -> None:
    namespace = "" if "*" in selected else "/namespaces/shop"
    api.errors[f"/api/v1{namespace}/secrets"] = ApiError(403, "HTTP 403: no")
    done = run(command, selected, "--yes", status=2)
    assert "HTTP 403: no; check: kubectl auth can-i" in done.stderr
    assert {method for method, _ in api.sent} == {"GET"}


def test_lost_connection_says_how_far_it_is(api) -> None:
    api.errors["/api/v1/namespaces/shop/secrets/b"] = ApiError(0, "cannot reach the API server", unreachable=True)
    done = run("disable", "-n", "shop", "--reason", "r", "--yes", status=2)
    assert "cannot reach the API server; 1 of 2 Secrets disabled: run the command again to go on" in done.stderr


def test_interrupt_says_how_far_it_is(api, monkeypatch) -> None:
    change = api.change_metadata

    def interrupt(method, path, *more):
        if path.endswith("/b"):
            raise KeyboardInterrupt
        return change(method, path, *more)

    monkeypatch.setattr(api, "change_metadata", interrupt)
    arguments = ("disable", "-n", "shop", "--reason", "r", "--yes", "-o", "json")
    done = run(*arguments, status=130)
    assert done.stderr == "error: interrupted; 1 of 2 Secrets disabled: run the command again to go on\n\n"
    assert json.loads(done.stdout)["results"] == [{"secret": "shop/a", "error": "", "note": ""}]
    monkeypatch.undo()


@pytest.mark.usefixtures("api")
def test_wave_that_was_interrupted_gets_no_larger() -> None:
    arguments = ("disable", "-n", "shop", "--max", "1", "--yes", "--reason")
    run(*arguments, "wave 1")
    again = run(*arguments, "wave 1").stdout.splitlines()
    assert again[0].startswith("Plan: disable 0 legacy Secrets ")
    assert again[1:] == [
        "Already disabled (1): shop/a",
        "Of the same wave (1): disabled within the last hour for the same reason; another --reason begins another wave",
        "For a later wave, because of --max (1): shop/b",
    ]  # fmt: skip
    assert run(*arguments, "wave 2").stdout.endswith("\ndisabled shop/b\n")


def test_lost_connection_leaves_json_of_what_was_done(api) -> None:
    api.errors["/api/v1/namespaces/shop/secrets/b"] = ApiError(0, "cannot reach the API server", unreachable=True)
    done = run("disable", "-n", "shop", "--reason", "r", "--yes", "-o", "json", status=2)
    executed = json.loads(done.stdout)
    validate("disable", executed)
    assert executed["results"] == [{"secret": "shop/a", "error": "", "note": ""}]


def test_refused_change_is_reported_and_the_others_are_made(api) -> None:
    api.errors["/api/v1/namespaces/shop/secrets/a"] = ApiError(403, "HTTP 403: denied by tokenguard")
    done = run("disable", "-n", "shop", "--reason", "r", "--yes", status=2)
    assert done.stderr.endswith("error: shop/a: not disabled: HTTP 403: denied by tokenguard\n")
    assert "disabled shop/b\n" in done.stdout


def test_named_secrets_need_rights_in_their_namespaces_only(api) -> None:
    run("disable", "shop/a", "--reason", "r", "--dry-run")
    lists = {path for _, path in api.sent if path.endswith(("/secrets", "/pods"))}
    assert lists == {"/api/v1/namespaces/shop/secrets", "/api/v1/namespaces/shop/pods"}


def test_audit_log_shows_who_is_refused(api, tmp_path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(labelled(1.1, 1.2, "a") + refused(1, 1.3) + refused(2, 3))
    run("disable", "shop/a", "--reason", "wave 1", "--yes")
    api.secrets["a"]["annotations"]["tokenguard/disabled-at"] = "2026-11-24T11:59:00Z"
    arguments = ("--after-days", "3650", "--audit-log", str(log))
    shown = run("list", *arguments, status=1).stdout
    assert "refused: 10.0.0.7, backup/1.0: 2 requests, last 2026-11-24 12:00 UTC" in shown
    assert "Secrets    2 legacy: 1 disabled but still used, 1 unused\n" in shown
    deleted = run("delete", "shop/a", "--yes", *arguments, status=1)
    assert "a use was refused on 2026-11-24" in deleted.stdout


@pytest.mark.parametrize(
    "content", [None, b"", b"{}\n", b"\x1f\x8bno gzip"], ids=["missing", "empty", "other", "damaged"]
)
def test_unusable_audit_log_changes_nothing(api, tmp_path, content) -> None:
    log = tmp_path / "audit.log"
    if content is not None:
        log.write_bytes(content)
    run("delete", "-n", "shop", "--yes", "--audit-log", str(log), status=2)
    assert api.sent == []
