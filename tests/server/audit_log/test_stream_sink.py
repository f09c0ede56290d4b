"""An audit log in a pipe: lines stay whole however slow the reader, and a slow reader delays no review for long."""

import fcntl
import json
import os
import select
import subprocess
import sys

import pytest

from tests.serving import eventually
from webhook.server.audit_log.stream_sink import StreamSink


def line(number: int, length: int = 20_000) -> bytes:
    """Return a line that a pipe takes in several pieces."""
    return b'{"n": %d, "pad": "%s"}\n' % (number, b"x" * length)


def is_lost(sink: StreamSink, data: bytes) -> bool:
    try:
        sink.write(data)
    except OSError:
        return True
    return False


@pytest.fixture
def pipe():
    """Return a pipe's reading end, its writing end, and the path of that."""
    reading, writing = os.pipe()
    yield reading, writing, f"/proc/self/fd/{writing}"
    os.close(reading)
    os.close(writing)


@pytest.mark.covers("failure-modes: slow reader", "threat-model: stopped audit reader")
def test_reader_that_stops_costs_lines_and_the_next_is_whole(pipe, monkeypatch):
    monkeypatch.setattr("webhook.server.audit_log.stream_sink._WRITE_TIMEOUT", 0.01)
    reading, _, path = pipe
    sink = StreamSink(path)
    while not is_lost(sink, line(1)):
        pass
    before = os.read(reading, 1 << 20)
    sink.write(line(2))
    after = os.read(reading, 1 << 20)
    *whole, torn, last, _ = (before + after).split(b"\n")
    assert [json.loads(line)["n"] for line in [*whole, last]] == [1] * len(whole) + [2]
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)


class Clock:
    """A time that passes only while a sink waits for a slow reader, who takes a piece each `pace` seconds."""

    def __init__(self, monkeypatch, pace: float):
        self.now, self._pace, self._ready_at = 100.0, pace, 0.0
        monkeypatch.setattr("webhook.server.audit_log.stream_sink.monotonic", lambda: self.now)
        monkeypatch.setattr("webhook.server.audit_log.stream_sink.select.poll", lambda: self)

    def register(self, *_):
        pass

    def poll(self, milliseconds: float) -> bool:
        ready_in = max(self._ready_at - self.now, 0.0)
        self.now += min(milliseconds / 1000, ready_in)
        if milliseconds / 1000 < ready_in:
            return False
        self._ready_at = self.now + self._pace
        return True


@pytest.mark.covers("failure-modes: slow reader")
def test_slow_reader_delays_one_line_until_the_cool_down_ends(tmp_path, monkeypatch):
    (tmp_path / "audit").touch()
    clock = Clock(monkeypatch, pace=0.2)
    sink = StreamSink(str(tmp_path / "audit"))
    assert is_lost(sink, line(1))
    assert clock.now == 100.5
    assert all(is_lost(sink, line(1)) for _ in range(20))
    assert clock.now == 100.5
    clock.now += 31
    assert is_lost(sink, line(1))
    assert clock.now == 132.0


@pytest.mark.covers("failure-modes: slow reader")
def test_reopen_of_a_fifo_without_a_reader_fails_at_once(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = StreamSink(str(path))
    sink.reopen()
    sink.write(b"1\n")
    assert os.read(reading, 100) == b"1\n"
    os.close(reading)
    with pytest.raises(OSError, match="No such device or address"):
        sink.reopen()
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink.write(b"2\n")
    assert os.read(reading, 100) == b"2\n"
    os.close(reading)


WRITE = """
import sys
from webhook.server.audit_log import stream_sink
stream_sink._WRITE_TIMEOUT = 60
stream_sink.StreamSink(sys.argv[1]).write(sys.argv[2].encode() + b"\\n")
"""


@pytest.mark.covers("failure-modes: worker killed within a line")
def test_line_of_a_killed_process_is_ended_by_the_next(pipe):
    reading, writing, path = pipe
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with subprocess.Popen([sys.executable, "-c", WRITE, path, line(1).decode().rstrip()], pass_fds=[writing]) as writer:
        eventually(lambda: select.select([reading], [], [], 0)[0])
        writer.kill()
    torn = os.read(reading, 4096)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
    sink = StreamSink(path)
    sink.is_torn = True
    for number in (2, 3):
        sink.write(line(number))
    first, *whole = (torn + os.read(reading, 1 << 20)).splitlines()
    assert len(first) == 4096
    assert [json.loads(line)["n"] for line in whole] == [2, 3]
