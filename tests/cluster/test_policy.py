"""The policy's ConfigMap: good, bad, gone."""

import multiprocessing

import pytest

from webhook.cluster.kept import Kept, KeptPolicy
from webhook.cluster.objects import ConfigMap, Metadata
from webhook.cluster.once import Once
from webhook.cluster.policy import Outlets, PolicyStore
from webhook.cluster.reflector import Change
from webhook.core.policy.model import Mode
from webhook.server.state import State

GOOD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
WARN = f"{GOOD}mode: warn\n"
BAD = f"{GOOD}modee: warn\ntokens: {{maxExpirationSeconds: 5}}\n"


NOTHING = Kept(None, None, {})


class Worker:
    """One worker's policy, with what it counts and tells."""

    def __init__(self, folder, kept=NOTHING) -> None:
        self.state, self.counted, self.told, self.keeps = State(), [], [], []
        outlets = Outlets(
            Once(folder / "told"),
            self.keeps.append,
            lambda: kept,
            self.counted.append,
            lambda *mistakes: self.told.append(mistakes),
        )
        self.store = PolicyStore("tokenguard/token-policy", self.state, outlets)

    @property
    def mode(self):
        return self.state._policy and self.state._policy.mode


def holding(document, version="1", uid="uid", **data):
    held = ({} if document is None else {"policy.yaml": document}) | data
    return ConfigMap(metadata=Metadata("token-policy", "tokenguard", uid, version), data=held)


def kept(document, uid="uid"):
    return Kept(KeptPolicy(document, uid), None, {})


def changed(document, version):
    return [Change(holding(document, version), deleted=False)]


@pytest.fixture
def worker(tmp_path):
    return Worker(tmp_path)


def test_a_sound_policy_is_in_force_and_counted(worker) -> None:
    worker.store.replace([holding(GOOD)])
    assert worker.mode == Mode.ENFORCE
    worker.store.apply(changed(WARN, "2"))
    assert worker.mode == Mode.WARN
    assert worker.counted == [True, True]


def test_a_bad_policy_leaves_the_last_good_one_and_tells_every_mistake(worker, caplog) -> None:
    worker.store.replace([holding(WARN)])
    worker.store.apply(changed(BAD, "2"))
    assert worker.mode == Mode.WARN
    assert worker.counted == [True, False]
    [(found, mistakes, _)] = worker.told
    assert found.metadata.resource_version == "2"
    assert [mistake.split(":")[0] for mistake in mistakes] == ["line 3", "line 4"]
    assert "the last good one stays in force" in caplog.text


@pytest.mark.parametrize("document", [None, "", BAD, "kind: ["], ids=["no key", "empty", "mistakes", "no YAML"])
def test_without_a_sound_one_there_is_none_and_why_is_told(worker, document) -> None:
    worker.store.replace([holding(document)])
    assert worker.mode is None
    assert "policy not loaded: ConfigMap tokenguard/token-policy" in worker.state.why_not_ready
    assert worker.counted == [False]


def test_a_change_of_something_else_in_the_configmap_is_no_reload(worker) -> None:
    worker.store.replace([holding(GOOD)])
    worker.store.apply([Change(holding(GOOD, "2", notes="hello"), deleted=False)])
    assert worker.counted == [True]


@pytest.mark.parametrize("gone", [
    lambda store: store.replace([]),
    lambda store: store.apply([Change(holding(WARN, "2"), deleted=True)]),
], ids=["found missing", "seen deleted"])  # fmt: skip
def test_a_deleted_configmap_leaves_the_last_good_one_until_there_is_another(worker, gone) -> None:
    worker.store.replace([holding(WARN)])
    gone(worker.store)
    assert worker.mode == Mode.WARN
    worker.store.apply(changed(GOOD, "3"))
    assert worker.mode == Mode.ENFORCE
    assert worker.counted == [True, False, True]


SEEN = "as it happens", lambda store, uid: store.apply([Change(holding(WARN, "9", uid), deleted=True)])
FOUND = "by a list", lambda store, _uid: store.replace([])


@pytest.mark.parametrize("second", [SEEN, FOUND], ids=lambda way: way[0])
@pytest.mark.parametrize("first", [SEEN, FOUND], ids=lambda way: way[0])
def test_every_deletion_is_told_once_however_each_worker_learns_of_it(tmp_path, caplog, first, second) -> None:
    workers = Worker(tmp_path), Worker(tmp_path)
    for uid in ("one", "two", "three"):
        for worker in workers:
            worker.store.replace([holding(WARN, uid, uid)])
        for worker, (_, learn) in zip(workers, (first, second), strict=True):
            learn(worker.store, uid)
            learn(worker.store, uid)
    assert workers[0].counted == [True, False] * 3
    assert workers[1].counted == []
    assert caplog.text.count("is not there") == 3


def test_a_deletion_that_a_new_worker_finds_out_is_told_unless_it_has_been(tmp_path) -> None:
    Worker(tmp_path).store.apply([Change(holding(WARN, "9", "one"), deleted=True)])
    knows_of_one, knows_of_two = Worker(tmp_path, kept(WARN, "one")), Worker(tmp_path)
    knows_of_one.store.replace([])
    assert knows_of_one.counted == []
    knows_of_two.store.restore(kept(WARN, "two"))
    knows_of_two.store.replace([])
    assert knows_of_two.counted == [False]


def test_the_uid_that_is_kept_is_that_of_the_configmap_seen_last_sound_or_not(worker) -> None:
    worker.store.replace([holding(WARN, "1", "one")])
    worker.store.apply([Change(holding(BAD, "2", "two"), deleted=False)])
    assert worker.keeps[-1] == KeptPolicy(WARN, "two")
    worker.store.replace([holding(BAD, "2", "three")])
    assert worker.keeps[-1] == KeptPolicy(WARN, "three")


def test_what_every_worker_learns_one_of_them_tells(tmp_path) -> None:
    first, second = Worker(tmp_path), Worker(tmp_path)
    for worker in (first, second):
        worker.store.replace([holding(GOOD)])
        worker.store.apply(changed(BAD, "2"))
        worker.store.apply(changed(GOOD, "3"))
    assert first.counted == [True, False, True]
    assert len(first.told) == 1
    assert (second.counted, second.told, second.mode) == ([], [], Mode.ENFORCE)


def test_what_is_in_force_is_kept_and_nothing_else(worker) -> None:
    worker.store.replace([holding(GOOD)])
    worker.store.apply(changed(BAD, "2"))
    worker.store.apply(changed(WARN, "3"))
    assert {held.document for held in worker.keeps[:2]} == {GOOD}
    assert worker.keeps[-1] == KeptPolicy(WARN, "uid")
    assert BAD not in {held.document for held in worker.keeps}


@pytest.mark.parametrize("now", [[holding(BAD, "2")], []], ids=["bad", "deleted"])
def test_a_worker_that_starts_without_a_sound_configmap_has_the_last_good_one(tmp_path, now) -> None:
    late = Worker(tmp_path, kept(WARN))
    late.store.replace(now)
    assert late.mode == Mode.WARN


def test_a_worker_begins_with_what_another_has_kept_and_prefers_its_own(tmp_path) -> None:
    late = Worker(tmp_path, kept(WARN))
    assert not late.store.restore(NOTHING)
    assert late.store.restore(kept(WARN))
    assert late.mode == Mode.WARN
    late.store.replace([holding(GOOD)])
    late.store.replace([])
    assert late.mode == Mode.ENFORCE


def tell(file, results) -> None:
    results.put(Once(file).first("news"))


def test_of_many_processes_one_is_the_first(tmp_path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=tell, args=(tmp_path / "told", results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert sorted(results.get(timeout=30) for _ in processes) == [False, False, False, True]
    for process in processes:
        process.join()
