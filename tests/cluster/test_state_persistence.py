"""The last known state in its files: what is written, how often, and what a successor reads."""

import pytest

from webhook.cluster.state_persistence import INTERVAL, StateFiles, StoredState
from webhook.core.cluster_state import ClusterState

BASE = ClusterState(api_audiences=("me",))
NOTHING = StoredState(None, None, {})
POLICY = "mode: wärn\n"


def of(name) -> ClusterState:
    return ClusterState(
        {"demo": {name: "app"}}, {"demo": frozenset({("tier", "web")})}, {("demo", "app"): False}, ("me",)
    )


def files_in(folder, last_synced=None, wait=None) -> StateFiles:
    return StateFiles(folder, folder / "policy.yaml", BASE, {} if last_synced is None else last_synced, wait)


def script(folder, heard, *steps):
    """Write files, with a step each time the writer would wait; return it and how long it was to wait."""
    waits, left = [], list(steps)

    def wait(seconds) -> None:
        waits.append(seconds)
        left.pop(0)(files)
        if not left:
            files.stop()

    files = files_in(folder, heard, wait)
    files.schedule_write()
    files.run()
    return files, waits


def test_read_without_files_returns_nothing(tmp_path) -> None:
    assert files_in(tmp_path).read() == NOTHING


def test_read_returns_what_was_written_with_its_age(tmp_path) -> None:
    last_synced = {"policy": 12.25, "Secrets": 11.0}

    def all_of_it(files) -> None:
        files.write_policy(POLICY)
        files.use_cluster(of("old"))
        files.schedule_write()

    script(tmp_path, last_synced, all_of_it, lambda _: None)
    assert files_in(tmp_path).read() == StoredState(POLICY, of("old"), last_synced)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_policy_is_written_at_once(tmp_path) -> None:
    files_in(tmp_path).write_policy(POLICY)
    assert files_in(tmp_path).read() == NOTHING._replace(policy=POLICY)


def test_many_changes_are_written_once_an_interval(tmp_path) -> None:
    heard = {"Secrets": 0.0}
    written = []

    def a_lot(files) -> None:
        written.append((files.read().cluster, (tmp_path / "cluster.jsonl").stat().st_ino))
        for number in range(100):
            heard["Secrets"] = float(number)
            files.use_cluster(of(f"version-{number}"))
            files.schedule_write()

    files, waits = script(tmp_path, heard, a_lot, a_lot, a_lot)
    assert [cluster for cluster, _ in written] == [None, of("version-99"), of("version-99")]
    assert len({inode for _, inode in written}) > 1
    assert files.read().last_synced == {"Secrets": 99.0}
    assert all(seconds >= INTERVAL for seconds in waits)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("cluster.jsonl", b"", id="empty"),
        pytest.param("cluster.jsonl", b"no JSON", id="no JSON"),
        pytest.param("cluster.jsonl", b'{"last_synced": {}}\n', id="no cluster"),
        pytest.param("cluster.jsonl", b'{"last_synced": {"a": 1}, "has_cluster": true}\n{', id="cut off"),
        pytest.param("policy.yaml", b"\xff", id="no UTF-8"),
    ],
)
def test_damaged_file_is_reported_and_ignored(tmp_path, name, content, caplog) -> None:
    (tmp_path / name).write_bytes(content)
    assert files_in(tmp_path).read() == NOTHING
    assert f"cannot read the stored state in {name}" in caplog.text


def test_write_error_is_reported_once_and_tried_again(tmp_path, caplog) -> None:
    (tmp_path / "cluster.jsonl").mkdir()

    def free(files) -> None:
        (tmp_path / "cluster.jsonl").rmdir()
        files.use_cluster(of("old"))
        files.schedule_write()

    files, _ = script(tmp_path, {}, lambda files: files.schedule_write(), free, lambda _: None)
    assert files.read().cluster == of("old")
    assert caplog.text.count("cannot store the state") == 1
