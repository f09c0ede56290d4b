"""An audit log file: it is rotated by its size, and a rotation by another program is followed."""

import json
import os
import shutil
import subprocess
import tracemalloc

import pytest

from tests.server.audit_log.cases import pods
from tests.server.replica import CLUSTER, NOW
from webhook.core.admission_request import Phase, read_review
from webhook.core.evaluate import evaluate
from webhook.core.policy.loader import default_policy
from webhook.server.audit_log.file_sink import FileSink
from webhook.server.audit_log.logger import AuditLog
from webhook.server.file_watcher import FileWatcher
from webhook.server.metrics.recorder import Metrics
from webhook.server.state import State


def numbers(*files) -> list[int]:
    return [json.loads(line)["n"] for file in files for line in file.read_bytes().splitlines()]


def test_full_file_is_rotated_without_losing_a_line(tmp_path):
    sink = FileSink(tmp_path / "audit", max_bytes=20_000, keep=1000)
    for number in range(1000):
        sink.write(b'{"n": %d, "pad": "%s"}\n' % (number, b"x" * 300))
    rotated = sorted(tmp_path.glob("audit.*"), key=lambda path: -int(path.suffix[1:]))
    assert [path.name for path in rotated] == [f"audit.{at}" for at in range(len(rotated), 0, -1)]
    assert len(rotated) > 10
    assert numbers(*rotated, tmp_path / "audit") == list(range(1000))
    assert all(19_000 < path.stat().st_size <= 20_000 for path in rotated)


@pytest.mark.skipif(not shutil.which("logrotate"), reason="needs logrotate")
@pytest.mark.covers("failure-modes: file rotated or removed")
def test_file_that_logrotate_moves_is_followed(tmp_path):
    target = tmp_path / "audit"
    log = AuditLog([FileSink(target)], Metrics(State()), level="all")
    (tmp_path / "conf").write_text(f"{target} {{\n rotate 1000\n size 1\n create\n nocompress\n missingok\n}}\n")
    (tmp_path / "conf").chmod(0o600)
    tmp_path.chmod(0o700)
    command = [shutil.which("logrotate"), "--force", "--state", str(tmp_path / "state"), str(tmp_path / "conf")]
    bodies = pods(500)
    requests = [read_review(body, Phase.VALIDATE) for body in bodies]
    written = []
    watcher = FileWatcher([("audit log", log.check)], interval=0.001)
    watcher.start()
    try:
        for _ in range(5):
            with subprocess.Popen(command) as logrotate:
                while logrotate.poll() is None:
                    for request in requests:
                        assert log.record(request, evaluate(request, default_policy(), CLUSTER, NOW), NOW, 0.0)
                        written.append(request.uid)
            assert logrotate.returncode == 0
    finally:
        watcher.stop()
    files = list(tmp_path.glob("audit*"))
    assert len(files) > 2
    uids = [json.loads(line)["uid"] for file in files for line in file.read_bytes().splitlines()]
    assert sorted(uids) == sorted(written)


def test_keep_limits_the_rotated_files(tmp_path):
    sink = FileSink(tmp_path / "audit", max_bytes=10, keep=2)
    for number in range(6):
        sink.write(b'{"n": %d}\n' % number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit", "audit.1", "audit.2"]
    assert [numbers(tmp_path / name) for name in ("audit.2", "audit.1", "audit")] == [[3], [4], [5]]


def test_rotation_takes_no_memory_for_files_that_do_not_exist(tmp_path):
    sink = FileSink(tmp_path / "audit", max_bytes=100, keep=100_000)
    tracemalloc.start()
    try:
        for _ in range(5):
            sink.write(b"x" * 99 + b"\n")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert len(list(tmp_path.iterdir())) == 5


def test_gap_among_rotated_files_is_filled_before_one_is_dropped(tmp_path):
    for at in (1, 3):
        (tmp_path / f"audit.{at}").write_text(f"old {at}")
    sink = FileSink(tmp_path / "audit", max_bytes=10, keep=3)
    sink.write(b"12345678\n")
    sink.write(b"abcdefgh\n")
    assert (tmp_path / "audit.1").read_text() == "12345678\n"
    assert (tmp_path / "audit.2").read_text() == "old 1"
    assert (tmp_path / "audit.3").read_text() == "old 3"


def test_line_longer_than_the_maximum_gets_a_file_of_its_own(tmp_path):
    sink = FileSink(tmp_path / "audit", max_bytes=10, keep=5)
    for line in (b"short\n", b"x" * 50 + b"\n", b"short\n"):
        sink.write(line)
    assert [(tmp_path / name).stat().st_size for name in ("audit.2", "audit.1", "audit")] == [6, 51, 6]


def test_file_without_a_maximum_is_not_rotated(tmp_path):
    sink = FileSink(tmp_path / "audit")
    for _ in range(100):
        sink.write(b"x" * 1000 + b"\n")
    assert [path.name for path in tmp_path.iterdir()] == ["audit"]


@pytest.mark.covers("failure-modes: messages already logged")
def test_failed_rotation_is_logged_once_and_the_file_grows(tmp_path, caplog):
    sink = FileSink(tmp_path / "audit", max_bytes=10, keep=1)
    (tmp_path / "audit.1").mkdir()
    for _ in range(3):
        sink.write(b"12345678\n")
    assert (tmp_path / "audit").stat().st_size == 27
    assert caplog.messages == [f"cannot rotate the audit log {tmp_path}/audit: Is a directory"]


def test_file_rotated_by_others_is_not_rotated_again(tmp_path):
    sink = FileSink(tmp_path / "audit", max_bytes=10, keep=5)
    sink.write(b"12345678\n")
    (tmp_path / "audit").rename(tmp_path / "moved")
    (tmp_path / "audit").touch()
    sink.write(b"abcdefgh\n")
    assert (tmp_path / "audit").read_bytes() == b"abcdefgh\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit", "moved"]


def test_truncated_file_is_filled_again_before_it_is_rotated(tmp_path):
    sink = FileSink(tmp_path / "audit", max_bytes=20, keep=5)
    sink.write(b"12345678\n")
    os.truncate(tmp_path / "audit", 0)
    sink.check()
    for _ in range(2):
        sink.write(b"abcdefgh\n")
    assert [path.name for path in tmp_path.iterdir()] == ["audit"]


@pytest.fixture
def clock(monkeypatch):
    """Return the time, in a list that tests change."""
    time = [100.0]
    monkeypatch.setattr("webhook.server.audit_log.file_sink.monotonic", lambda: time[0])
    return time


@pytest.mark.covers("failure-modes: file rotated or removed")
def test_missing_file_is_created_after_a_second(tmp_path, clock):
    sink = FileSink(tmp_path / "audit")
    for number in range(2):
        (tmp_path / "audit").rename(tmp_path / f"old {number}")
        sink.check()
        sink.write(b"1\n")
        clock[0] += 0.9
        sink.check()
        sink.write(b"2\n")
        assert not (tmp_path / "audit").exists()
        clock[0] += 0.2
        sink.check()
        sink.write(b"3\n")
        assert (tmp_path / f"old {number}").read_bytes().endswith(b"1\n2\n")
        assert (tmp_path / "audit").read_bytes() == b"3\n"


def test_full_missing_file_is_not_created_within_a_second(tmp_path, clock):
    sink = FileSink(tmp_path / "audit", max_bytes=4, keep=1)
    sink.write(b"1\n")
    (tmp_path / "audit").rename(tmp_path / "old")
    for _ in range(3):
        sink.write(b"234\n")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    clock[0] += 1.1
    sink.write(b"5\n")
    assert (tmp_path / "audit").read_bytes() == b"5\n"


@pytest.mark.parametrize("on_request", [True, False], ids=["on-request", "by-itself"])
@pytest.mark.covers("failure-modes: file rotated or removed")
def test_failed_reopen_goes_on_with_the_open_file(tmp_path, on_request, clock, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    sink = FileSink(folder / "audit")
    folder.rename(tmp_path / "moved")
    if on_request:
        with pytest.raises(FileNotFoundError):
            sink.reopen()
    for _ in range(3):
        sink.check()
        sink.write(b"line\n")
        clock[0] += 2
    assert (tmp_path / "moved" / "audit").read_bytes() == b"line\n" * 3
    assert caplog.messages == [f"cannot reopen the audit log {folder}/audit: No such file or directory"]


def test_check_follows_a_rotation_and_finds_a_torn_line(tmp_path):
    sink = FileSink(tmp_path / "audit")
    (tmp_path / "audit").write_bytes(b"torn")
    sink.check()
    sink.write(b"1\n")
    assert (tmp_path / "audit").read_bytes() == b"torn\n1\n"
    (tmp_path / "audit").rename(tmp_path / "audit.1")
    (tmp_path / "audit").touch()
    sink.check()
    sink.write(b"2\n")
    assert (tmp_path / "audit").read_bytes() == b"2\n"


def test_new_file_is_for_its_owner_and_group_alone(tmp_path):
    before = os.umask(0)
    try:
        FileSink(tmp_path / "audit")
    finally:
        os.umask(before)
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o640
