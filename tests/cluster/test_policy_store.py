"""The policy's ConfigMap: good, bad, gone."""

import pytest

from webhook.cluster.api_types import ConfigMap, Metadata
from webhook.cluster.policy_store import PolicyCallbacks, PolicyStore
from webhook.cluster.reflector import ObjectChange
from webhook.cluster.state_persistence import StoredState
from webhook.core.policy.model import Mode
from webhook.server.readiness import readiness_error
from webhook.server.state import State

GOOD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
WARN = f"{GOOD}mode: warn\n"
BAD = f"{GOOD}modee: warn\ntokens: {{maxExpirationSeconds: 5}}\n"


class Worker:
    """A worker's policy, with what it counts, reports and stores; `stored` is what its predecessor has stored."""

    def __init__(self, stored: str | None = None) -> None:
        self.state, self.counted, self.reported, self.stored = State(), [], [], []
        outlets = PolicyCallbacks(
            self.stored.append,
            lambda: stored,
            self.counted.append,
            lambda *mistakes: self.reported.append(mistakes),
        )
        self.store = PolicyStore("tokenguard/token-policy", self.state, outlets)

    @property
    def mode(self):
        return self.state._policy and self.state._policy.mode


def holding(document, version="1", uid="uid", **data):
    held = ({} if document is None else {"policy.yaml": document}) | data
    return ConfigMap(metadata=Metadata("token-policy", "tokenguard", uid, version), data=held)


def changed(document, version):
    return [ObjectChange(holding(document, version), deleted=False)]


@pytest.fixture
def worker():
    return Worker()


def test_valid_policy_is_in_force_and_counted(worker) -> None:
    worker.store.replace([holding(GOOD)])
    assert worker.mode == Mode.ENFORCE
    worker.store.apply(changed(WARN, "2"))
    assert worker.mode == Mode.WARN
    assert worker.counted == [True, True]


def test_invalid_policy_leaves_the_last_one_and_reports_errors(worker, caplog) -> None:
    worker.store.replace([holding(WARN)])
    worker.store.apply(changed(BAD, "2"))
    assert worker.mode == Mode.WARN
    assert worker.counted == [True, False]
    [(config_map, mistakes, _)] = worker.reported
    assert config_map.metadata.resource_version == "2"
    assert [mistake.split(":")[0] for mistake in mistakes] == ["line 3", "line 4"]
    assert "the last valid one stays in force" in caplog.text


@pytest.mark.parametrize("document", [None, "", BAD, "kind: ["], ids=["no key", "empty", "mistakes", "no YAML"])
def test_invalid_first_policy_is_not_in_force_and_reported(worker, document) -> None:
    worker.store.replace([holding(document)])
    assert worker.mode is None
    assert "policy not loaded: ConfigMap tokenguard/token-policy" in readiness_error(worker.state)
    assert worker.counted == [False]


def test_unrelated_change_of_the_configmap_is_no_reload(worker) -> None:
    worker.store.replace([holding(GOOD)])
    worker.store.apply([ObjectChange(holding(GOOD, "2", notes="hello"), deleted=False)])
    assert worker.counted == [True]


@pytest.mark.parametrize("gone", [
    lambda store: store.replace([]),
    lambda store: store.apply([ObjectChange(holding(WARN, "2"), deleted=True)]),
], ids=["found missing", "seen deleted"])  # fmt: skip
def test_deleted_configmap_leaves_the_last_valid_policy(worker, gone) -> None:
    worker.store.replace([holding(WARN)])
    gone(worker.store)
    assert worker.mode == Mode.WARN
    worker.store.apply(changed(GOOD, "3"))
    assert worker.mode == Mode.ENFORCE
    assert worker.counted == [True, False, True]


SEEN = "as it happens", lambda store, uid: store.apply([ObjectChange(holding(WARN, "9", uid), deleted=True)])
FOUND = "by a list", lambda store, _uid: store.replace([])


@pytest.mark.parametrize("second", [SEEN, FOUND], ids=lambda way: way[0])
@pytest.mark.parametrize("first", [SEEN, FOUND], ids=lambda way: way[0])
def test_policy_deletions_are_each_reported_once(worker, caplog, first, second) -> None:
    for uid in ("one", "two", "three"):
        worker.store.replace([holding(WARN, uid, uid)])
        for _, learn in (first, second):
            learn(worker.store, uid)
    assert worker.counted == [True, False] * 3
    assert caplog.text.count("does not exist") == 3


def test_policy_errors_listed_again_are_reported_once(worker, caplog) -> None:
    for _ in range(3):
        worker.store.replace([holding(BAD, "2")])
    assert worker.counted == [False]
    assert len(worker.reported) == 1
    assert caplog.text.count("line 3") == 1


def test_policy_in_force_is_stored_and_an_invalid_one_is_not(worker) -> None:
    worker.store.replace([holding(GOOD)])
    worker.store.apply(changed(BAD, "2"))
    worker.store.apply(changed(WARN, "3"))
    worker.store.replace([holding(WARN, "3")])
    assert worker.stored == [GOOD, WARN]


@pytest.mark.parametrize("now", [[holding(BAD, "2")], []], ids=["bad", "deleted"])
def test_start_without_a_valid_configmap_uses_the_stored_policy(now) -> None:
    restarted = Worker(WARN)
    restarted.store.replace(now)
    assert restarted.mode == Mode.WARN


def test_start_uses_the_stored_policy_until_there_is_a_newer_one() -> None:
    restarted = Worker(WARN)
    assert not restarted.store.restore(StoredState(None, None, {}))
    assert restarted.store.restore(StoredState(WARN, None, {}))
    assert restarted.mode == Mode.WARN
    restarted.store.replace([holding(GOOD)])
    restarted.store.replace([])
    assert restarted.mode == Mode.ENFORCE
    assert restarted.stored == [GOOD]
