"""The last known state in its file: who writes it, how often, and who reads it."""

import threading

import pytest

from tests.serving import eventually
from webhook.cluster.kept import INTERVAL, Keeper
from webhook.core.cluster import Cluster

CLUSTER = Cluster({"demo": {"old": "app"}}, {"demo": frozenset({("tier", "web")})}, {("demo", "app"): False})
BASE = Cluster(api_audiences=("me",))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "live.kept"


def script(file, heard, *steps):
    """Run a keeper that does a step each time it would wait; return it and how long it was to wait."""
    waits, left = [], list(steps)

    def wait(seconds) -> None:
        waits.append(seconds)
        left.pop(0)(keeper)
        if not left:
            keeper.stop()

    keeper = Keeper(file, BASE, heard, wait)
    keeper.note_heard()
    keeper.run()
    return keeper, waits


def test_nothing_is_read_where_nothing_was_kept(file) -> None:
    assert Keeper(file, BASE, {}).read() is None


def test_what_one_worker_keeps_another_reads_with_its_age(file) -> None:
    heard = {"policy": 12.25, "Secrets": 11.0}

    def all_of_it(keeper) -> None:
        keeper.keep_policy("mode: wärn\n")
        keeper.keep_cluster(CLUSTER)
        keeper.note_heard()

    script(file, heard, all_of_it, lambda _: None)
    kept = Keeper(file, BASE, {}).read()
    assert (kept.policy, kept.heard) == ("mode: wärn\n", heard)
    assert kept.cluster == Cluster(CLUSTER.legacy_tokens, CLUSTER.namespaces, CLUSTER.automounts, ("me",))
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_policy_alone_is_kept_without_a_cluster(file) -> None:
    script(file, {}, lambda keeper: (keeper.keep_policy("x"), keeper.note_heard()), lambda _: None)
    kept = Keeper(file, BASE, {}).read()
    assert (kept.policy, kept.cluster) == ("x", None)


def test_however_much_is_heard_it_is_written_once_an_interval_with_the_last(file) -> None:
    heard = {"policy": 0.0}
    written = []

    def a_lot(keeper) -> None:
        written.append((keeper.read().policy, file.stat().st_ino))
        for number in range(100):
            heard["policy"] = float(number)
            keeper.keep_policy(f"version {number}")
            keeper.note_heard()

    keeper, waits = script(file, heard, a_lot, a_lot, a_lot)
    assert [policy for policy, _ in written] == [None, "version 99", "version 99"]
    assert len({inode for _, inode in written}) > 1
    assert keeper.read().heard == {"policy": 99.0}
    assert all(seconds >= INTERVAL for seconds in waits)


def test_one_worker_at_a_time_writes_and_another_takes_over_with_all_it_knows(file) -> None:
    first_waits, over = threading.Event(), threading.Event()
    keepers = [
        Keeper(file, BASE, {}, lambda _: (first_waits.set(), over.wait(30))),
        Keeper(file, BASE, {}, lambda _: over.wait(0.01)),
    ]
    threads = [threading.Thread(target=keeper.run, daemon=True) for keeper in keepers]
    for keeper, thread, known in zip(keepers, threads, ("one", "two"), strict=True):
        keeper.keep_policy(known)
        keeper.note_heard()
        thread.start()
        assert first_waits.wait(30)
    threads[1].join(0.2)
    assert keepers[1].read().policy == "one"
    keepers[0].stop()
    over.set()
    threads[0].join()
    eventually(lambda: keepers[1].read().policy == "two")
    keepers[1].stop()


@pytest.mark.parametrize(
    "content", [b"", b"no JSON", b'{"heard": {}}\n', b'{"heard":{},"policy":"x","has_cluster":true}\n{']
)
def test_a_file_that_cant_be_read_is_told_of_and_of_no_use(file, content, caplog) -> None:
    file.write_bytes(content)
    assert Keeper(file, BASE, {}).read() is None
    assert "can't be read" in caplog.text


def test_what_cant_be_written_is_told_once_and_tried_again(file, caplog) -> None:
    file.mkdir()

    def again(keeper) -> None:
        keeper.keep_policy("x")
        keeper.note_heard()

    def free(keeper) -> None:
        file.rmdir()
        keeper.note_heard()

    keeper, _ = script(file, {}, again, free, lambda _: None)
    assert keeper.read().policy == "x"
    assert caplog.text.count("can't be kept") == 1
