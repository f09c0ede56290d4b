"""The last known state in its files: who writes it, how often, and who reads it."""

import threading

import pytest

from tests.serving import eventually
from webhook.cluster.kept import INTERVAL, Keeper, Kept, KeptPolicy
from webhook.core.cluster import Cluster

BASE = Cluster(api_audiences=("me",))
NOTHING = Kept(None, None, {})
POLICY = KeptPolicy("mode: wärn\n", "uid")


def of(name) -> Cluster:
    return Cluster({"demo": {name: "app"}}, {"demo": frozenset({("tier", "web")})}, {("demo", "app"): False}, ("me",))


def kept_in(folder, heard=None, wait=None) -> Keeper:
    return Keeper(folder, folder / "policy.kept", BASE, {} if heard is None else heard, wait)


def script(folder, heard, *steps):
    """Run a keeper that does a step each time it would wait; return it and how long it was to wait."""
    waits, left = [], list(steps)

    def wait(seconds) -> None:
        waits.append(seconds)
        left.pop(0)(keeper)
        if not left:
            keeper.stop()

    keeper = kept_in(folder, heard, wait)
    keeper.note_heard()
    keeper.run()
    return keeper, waits


def test_nothing_is_read_where_nothing_was_kept(tmp_path) -> None:
    assert kept_in(tmp_path).read() == NOTHING


def test_what_one_worker_keeps_another_reads_with_its_age(tmp_path) -> None:
    heard = {"policy": 12.25, "Secrets": 11.0}

    def all_of_it(keeper) -> None:
        keeper.keep_policy(POLICY)
        keeper.keep_cluster(of("old"))
        keeper.note_heard()

    script(tmp_path, heard, all_of_it, lambda _: None)
    assert kept_in(tmp_path).read() == Kept(POLICY, of("old"), heard)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("*.kept")} == {0o600}


def test_a_policy_is_kept_at_once_and_by_every_worker(tmp_path) -> None:
    first, second = kept_in(tmp_path), kept_in(tmp_path)
    first.keep_policy(POLICY)
    assert second.read() == NOTHING._replace(policy=POLICY)
    second.keep_policy(KeptPolicy("newer", "uid"))
    assert first.read().policy == KeptPolicy("newer", "uid")


def test_a_policy_that_was_read_is_not_written_back_over_a_newer_one(tmp_path) -> None:
    first, second = kept_in(tmp_path), kept_in(tmp_path)
    first.keep_policy(POLICY)
    read = second.read().policy
    first.keep_policy(KeptPolicy("newer", "uid"))
    second.keep_policy(read)
    assert second.read().policy.document == "newer"


def test_however_much_is_heard_it_is_written_once_an_interval_with_the_last(tmp_path) -> None:
    heard = {"Secrets": 0.0}
    written = []

    def a_lot(keeper) -> None:
        written.append((keeper.read().cluster, (tmp_path / "live.kept").stat().st_ino))
        for number in range(100):
            heard["Secrets"] = float(number)
            keeper.keep_cluster(of(f"version-{number}"))
            keeper.note_heard()

    keeper, waits = script(tmp_path, heard, a_lot, a_lot, a_lot)
    assert [cluster for cluster, _ in written] == [None, of("version-99"), of("version-99")]
    assert len({inode for _, inode in written}) > 1
    assert keeper.read().heard == {"Secrets": 99.0}
    assert all(seconds >= INTERVAL for seconds in waits)


def test_one_worker_at_a_time_writes_and_another_takes_over_with_all_it_knows(tmp_path) -> None:
    first_waits, over = threading.Event(), threading.Event()
    keepers = [
        kept_in(tmp_path, {}, lambda _: (first_waits.set(), over.wait(30))),
        kept_in(tmp_path, {}, lambda _: over.wait(0.01)),
    ]
    threads = [threading.Thread(target=keeper.run, daemon=True) for keeper in keepers]
    for keeper, thread, known in zip(keepers, threads, ("one", "two"), strict=True):
        keeper.keep_cluster(of(known))
        keeper.note_heard()
        thread.start()
        assert first_waits.wait(30)
    threads[1].join(0.2)
    assert keepers[1].read().cluster == of("one")
    keepers[0].stop()
    over.set()
    threads[0].join()
    eventually(lambda: keepers[1].read().cluster == of("two"))
    keepers[1].stop()


@pytest.mark.parametrize(
    "content", [b"", b"no JSON", b'{"heard": {}}\n', b'{"heard": {"a": 1}, "has_cluster": true}\n{']
)
@pytest.mark.parametrize("name", ["live.kept", "policy.kept"])
def test_a_file_that_cant_be_read_is_told_of_and_of_no_use(tmp_path, name, content, caplog) -> None:
    (tmp_path / name).write_bytes(content)
    assert kept_in(tmp_path).read() == NOTHING
    assert f"{name}: what was kept there can't be read" in caplog.text


def test_what_cant_be_written_is_told_once_and_tried_again(tmp_path, caplog) -> None:
    (tmp_path / "live.kept").mkdir()

    def free(keeper) -> None:
        (tmp_path / "live.kept").rmdir()
        keeper.keep_cluster(of("old"))
        keeper.note_heard()

    keeper, _ = script(tmp_path, {}, lambda keeper: keeper.note_heard(), free, lambda _: None)
    assert keeper.read().cluster == of("old")
    assert caplog.text.count("can't be kept") == 1
