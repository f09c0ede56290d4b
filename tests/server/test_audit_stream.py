"""The audit log in a pipe: lines stay whole whoever writes, however slow the reader, and however they go wrong."""

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.audit.test_record import line_of
from tests.server.test_audit import large_denial, send_many
from tests.serving import eventually, serve
from webhook.audit.record import encode
from webhook.core.request import Phase
from webhook.server.audit_stream import LogStream


@pytest.fixture
def long_lines(monkeypatch) -> None:
    """Have a line be longer than a pipe takes as a whole, several times over."""
    monkeypatch.setattr("webhook.audit.record._MAX_FINDINGS", 100)


def line(number: int) -> bytes:
    return encode(line_of(large_denial(number), Phase.VALIDATE)) + b"\n"


def is_lost(log: LogStream, data: bytes) -> bool:
    try:
        log.write(data)
    except OSError:
        return True
    return False


def test_large_lines_of_several_workers_stay_whole_in_a_pipe(judged_by, tmp_path):
    reading, writing = os.pipe()
    received: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as pipe:  # noqa: PTH123 - a file descriptor, not a path
            received.extend(pipe)

    reader = threading.Thread(target=read)
    reader.start()
    with serve(tmp_path, *judged_by, "--workers", "3", stdout=writing) as server:
        os.close(writing)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda first: send_many(server, range(first, first + 20)), range(0, 120, 20)))
    reader.join()
    lines = [json.loads(line) for line in received]
    assert min(map(len, received)) > 4096
    assert {line["uid"] for line in lines} == {f"{number:08x}-large" for number in range(120)}
    assert len(lines) == 120


def test_a_reader_that_has_gone_away_costs_lines_but_no_answer(judged_by, tmp_path):
    reading, writing = os.pipe()
    with serve(tmp_path, *judged_by, "--workers", "1", stdout=writing) as server:
        os.close(writing)
        os.close(reading)
        send_many(server, range(3))
        assert server.metric("tokenguard_audit_failures_total") == 3
        assert server.log.count("can't be written") == 1


@pytest.mark.usefixtures("long_lines")
def test_a_reader_that_stands_still_costs_lines_and_the_next_one_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("webhook.server.audit_stream._PATIENCE", 0.01)
    reading, writing = os.pipe()
    log = LogStream(f"/proc/self/fd/{writing}", tmp_path / "lock")
    while not is_lost(log, line(1)):
        pass
    before = os.read(reading, 1 << 20)
    log.write(line(1))
    after = os.read(reading, 1 << 20)
    os.close(reading)
    os.close(writing)
    *whole, torn, last, _ = (before + after).split(b"\n")
    assert all(json.loads(one)["uid"] == "00000001-large" for one in [*whole, last])
    with pytest.raises(ValueError, match=r"."):
        json.loads(torn)


class Clock:
    """A time that passes only where somebody waits for a slow reader, who takes a piece each `pace` seconds."""

    def __init__(self, monkeypatch, pace: float):
        self.now, self._pace, self._ready_at = 100.0, pace, 0.0
        monkeypatch.setattr("webhook.server.audit_stream.monotonic", lambda: self.now)
        monkeypatch.setattr("webhook.server.audit_stream.select.poll", lambda: self)

    def register(self, *_):
        pass

    def poll(self, milliseconds: float) -> bool:
        ready_in = max(self._ready_at - self.now, 0.0)
        self.now += min(milliseconds / 1000, ready_in)
        if milliseconds / 1000 < ready_in:
            return False
        self._ready_at = self.now + self._pace
        return True


@pytest.mark.usefixtures("long_lines")
def test_a_slow_reader_holds_up_one_line_for_the_patience_and_then_none_until_it_has_cooled_down(tmp_path, monkeypatch):
    (tmp_path / "audit").touch()
    log = LogStream(str(tmp_path / "audit"), tmp_path / "lock")
    clock = Clock(monkeypatch, pace=0.2)
    assert is_lost(log, line(1))
    assert clock.now == 100.5
    assert all(is_lost(log, line(1)) for _ in range(20))
    assert clock.now == 100.5
    clock.now += 31
    assert is_lost(log, line(1))
    assert clock.now == 132.0


HOLD = """
import fcntl, os, sys
fcntl.lockf(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
WRITE = """
import sys
from pathlib import Path
from webhook.server import audit_stream
from tests.server.test_audit_stream import line
audit_stream._PATIENCE = 60
audit_stream.LogStream(sys.argv[1], Path(sys.argv[2])).write(line(1))
"""


@contextlib.contextmanager
def python(code: str, *arguments: str, **popen):
    """Run a piece of Python beside this one; it is killed in the end."""
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], **piped, **popen) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_writer_that_holds_the_lock_costs_a_line_but_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("webhook.server.audit_stream._PATIENCE", 0.01)
    reading, writing = os.pipe()
    log = LogStream(f"/proc/self/fd/{writing}", tmp_path / "lock")
    with python(HOLD, str(tmp_path / "lock")) as holder:
        assert holder.stdout.readline() == b"held\n"
        threading.Timer(10, holder.kill).start()  # a log that waited without end would be let go of
        assert is_lost(log, line(1))
        assert holder.poll() is None
    os.close(reading)
    os.close(writing)


def test_a_worker_that_is_killed_in_the_middle_of_a_line_spoils_no_other(tmp_path):
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    target = f"/proc/self/fd/{writing}"
    with python(WRITE, target, str(tmp_path / "lock"), pass_fds=[writing]) as writer:
        eventually(lambda: select.select([reading], [], [], 0)[0])
        writer.kill()
    torn = os.read(reading, 4096)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
    log = LogStream(target, tmp_path / "lock")
    for number in (2, 3):
        log.write(line(number))
    first, *whole = (torn + os.read(reading, 1 << 20)).splitlines()
    os.close(reading)
    os.close(writing)
    assert len(first) == 4096
    assert [json.loads(line)["uid"][:8] for line in whole] == ["00000002", "00000003"]
