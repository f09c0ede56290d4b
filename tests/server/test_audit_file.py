"""The audit log in a file: several processes write and rotate it, and notice when somebody else has."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import eventually
from webhook.server.audit_file import LogFile

WRITE = """
import sys
from pathlib import Path
from webhook.server.audit_file import LogFile
target, name, count, size, max_bytes = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
log = LogFile(Path(target), max_bytes=max_bytes, keep=10_000)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    log.write(b'{"n": "%s-%d", "pad": "%s"}\\n' % (name.encode(), number, b"x" * size))
"""


@contextlib.contextmanager
def writers(target: Path, count: int, lines: int, max_bytes: int = 0, size: int = 300):
    """Have processes ready to write; they begin when the block does."""
    told = (str(lines), str(size), str(max_bytes))
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", WRITE, str(target), chr(97 + at), *told], **piped)
            )
            for at in range(count)
        ]
        for one in started:
            assert one.stdout.readline() == b"ready\n"
        for one in started:
            one.stdin.write(b"go\n")
            one.stdin.flush()
        yield started
        assert [one.wait(60) for one in started] == [0] * count


def written(*files: Path) -> list[str]:
    return [json.loads(line)["n"] for file in files for line in file.read_bytes().splitlines()]


def expected(count: int, lines: int) -> list[str]:
    return sorted(f"{chr(97 + at)}-{number}" for at in range(count) for number in range(lines))


def test_several_processes_lose_tear_and_double_no_line_while_they_rotate(tmp_path):
    with writers(tmp_path / "audit", 4, 2000, max_bytes=100_000):
        pass
    rotated = sorted(tmp_path.glob("audit.*"), key=lambda path: int(path.suffix[1:]))
    assert [path.name for path in rotated] == [f"audit.{at}" for at in range(1, len(rotated) + 1)]
    assert len(rotated) > 10
    assert sorted(written(tmp_path / "audit", *rotated)) == expected(4, 2000)
    for path in rotated:
        assert path.stat().st_size > 99_000, "it was rotated when it was full, by one of them alone"


@pytest.mark.skipif(not shutil.which("logrotate"), reason="needs logrotate")
def test_a_file_that_logrotate_takes_away_is_opened_anew(tmp_path):
    target = tmp_path / "audit"
    (tmp_path / "conf").write_text(f"{target} {{\n rotate 1000\n size 1\n create\n nocompress\n missingok\n}}\n")
    (tmp_path / "conf").chmod(0o600)
    tmp_path.chmod(0o700)
    command = [shutil.which("logrotate"), "--force", "--state", str(tmp_path / "state"), str(tmp_path / "conf")]
    with writers(target, 3, 20_000) as running:
        while any(one.poll() is None for one in running):
            subprocess.run(command, check=True, timeout=60)
    files = list(tmp_path.glob("audit*"))
    assert len(files) > 2
    assert sorted(written(*files)) == expected(3, 20_000)


def test_of_the_rotated_files_so_many_are_kept_as_are_wanted(tmp_path):
    log = LogFile(tmp_path / "audit", max_bytes=10, keep=2)
    for number in range(6):
        log.write(b'{"n": %d}\n' % number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit", "audit.1", "audit.2"]
    assert [written(tmp_path / name) for name in ("audit.2", "audit.1", "audit")] == [[3], [4], [5]]


def test_a_gap_among_the_rotated_files_is_filled_before_one_is_dropped(tmp_path):
    for at in (1, 3):
        (tmp_path / f"audit.{at}").write_text(f"old {at}")
    log = LogFile(tmp_path / "audit", max_bytes=10, keep=3)
    log.write(b"12345678\n")
    log.write(b"abcdefgh\n")
    assert (tmp_path / "audit.1").read_text() == "12345678\n"
    assert (tmp_path / "audit.2").read_text() == "old 1"
    assert (tmp_path / "audit.3").read_text() == "old 3"


def test_a_line_that_is_longer_than_a_file_may_be_gets_one_of_its_own(tmp_path):
    log = LogFile(tmp_path / "audit", max_bytes=10, keep=5)
    for line in (b"short\n", b"x" * 50 + b"\n", b"short\n"):
        log.write(line)
    assert [(tmp_path / name).stat().st_size for name in ("audit.2", "audit.1", "audit")] == [6, 51, 6]


def test_without_a_size_nothing_is_rotated(tmp_path):
    log = LogFile(tmp_path / "audit")
    for _ in range(100):
        log.write(b"x" * 1000 + b"\n")
    assert [path.name for path in tmp_path.iterdir()] == ["audit"]


def test_where_it_cannot_be_rotated_the_file_grows_and_the_log_says_so_once(tmp_path, caplog):
    log = LogFile(tmp_path / "audit", max_bytes=10, keep=1)
    (tmp_path / "audit.1").mkdir()
    for _ in range(3):
        log.write(b"12345678\n")
    assert (tmp_path / "audit").stat().st_size == 27
    (said,) = caplog.messages
    assert said == f"the audit log {tmp_path}/audit can't be rotated: Is a directory"


@pytest.fixture
def clock(monkeypatch):
    """Return the time, in a list: it passes where a test says so."""
    time = [100.0]
    monkeypatch.setattr("webhook.server.audit_file.monotonic", lambda: time[0])
    return time


def test_a_file_that_is_gone_is_made_anew_unless_somebody_else_does_within_a_second(tmp_path, clock):
    log = LogFile(tmp_path / "audit")
    for number in range(2):
        (tmp_path / "audit").rename(tmp_path / f"old {number}")
        log.write(b"1\n")
        clock[0] += 0.9
        log.write(b"2\n")
        assert not (tmp_path / "audit").exists()
        clock[0] += 0.2
        log.write(b"3\n")
        assert (tmp_path / f"old {number}").read_bytes().endswith(b"1\n2\n")
        assert (tmp_path / "audit").read_bytes() == b"3\n"


@pytest.mark.parametrize("asked", [True, False], ids=["on request", "of itself"])
def test_where_the_file_cannot_be_opened_anew_the_one_before_is_written(tmp_path, asked, clock, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    log = LogFile(folder / "audit")
    folder.rename(tmp_path / "moved")
    if asked:
        with pytest.raises(FileNotFoundError):
            log.reopen()
    for _ in range(3):
        log.write(b"line\n")
        clock[0] += 2
    assert (tmp_path / "moved" / "audit").read_bytes() == b"line\n" * 3
    assert caplog.messages == [f"the audit log {folder}/audit can't be opened anew: No such file or directory"]


def test_a_writer_that_stands_still_while_it_rotates_holds_up_nobody(tmp_path):
    target = tmp_path / "audit"
    target.write_bytes(b"x" * 100 + b"\n")
    hold = "import fcntl, os, sys; fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX); print(); input()"
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold, str(target)], **piped) as holder:
        assert holder.stdout.readline() == b"\n"
        log = LogFile(target, max_bytes=10, keep=1)
        log.write(b"line\n")
        assert target.read_bytes().endswith(b"x\nline\n")
        holder.kill()
    eventually(lambda: log.write(b"next\n") or (tmp_path / "audit.1").exists())
    assert (tmp_path / "audit.1").read_bytes().endswith(b"x\nline\n")


def test_a_file_that_is_made_is_for_its_owner_and_group_alone(tmp_path):
    before = os.umask(0)
    try:
        LogFile(tmp_path / "audit")
    finally:
        os.umask(before)
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o640
