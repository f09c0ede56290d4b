"""An audit log in a pipe or a terminal, whose reader may be slow or gone."""

import os
import select
from time import monotonic

from webhook.server.audit_log.sink import Sink

_STDOUT = 1
_WRITE_TIMEOUT = 0.5
"""Seconds that one line may wait for a slow reader; the answer to a review waits with it."""
_COOL_DOWN = 30.0
"""Seconds after such a timeout in which no line waits."""


class StreamSink(Sink):
    """Stdout (`-`), or a path that is no regular file.

    A pipe that polls as writable takes PIPE_BUF bytes (4096) without blocking. So a longer line is written in pieces.
    """

    def __init__(self, target: str) -> None:
        """Open it. Raises `OSError` if that is not possible; for a FIFO, wait until it has a reader."""
        super().__init__(target)
        self._wait_from = 0.0
        self._use(_STDOUT if target == "-" else os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def reopen(self) -> None:
        """Open the path again, without waiting for a reader; stdout stays open."""
        if self.name == "-":
            return
        fd = os.open(self.name, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(fd, True)
        os.close(self._fd)
        self._use(fd)

    def write(self, line: bytes) -> None:
        """Write a line. Raises `TimeoutError` if the reader is too slow, `OSError` if that is not possible."""
        if self.is_torn:
            line = b"\n" + line
        now = monotonic()
        timeout = _WRITE_TIMEOUT if now >= self._wait_from else 0.0
        deadline = now + timeout
        written = 0
        while written < len(line):
            if not self._poll.poll(max(deadline - monotonic(), 0.0) * 1000):
                if timeout:
                    self._wait_from = monotonic() + _COOL_DOWN
                raise TimeoutError("the reader is too slow")
            written += os.write(self._fd, line[written : written + select.PIPE_BUF])
            self.is_torn = written < len(line)

    def _use(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
