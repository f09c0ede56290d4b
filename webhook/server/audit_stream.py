"""Whole lines into a pipe or a terminal, from several processes at once, past a reader that may be slow or gone."""

import fcntl
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

_STDOUT = 1
_PIECE = select.PIPE_BUF
_PATIENCE = 0.5
"""How long one line may hold up reviews, in seconds, be it a slow reader or another writer that it waits for."""
_COOL_DOWN = 30.0
"""For so long after that nobody waits for the reader."""
_LOCK_PATIENCE = 0.01
"""So long a lock is waited for even then: whoever holds it doesn't wait, either."""


class LogStream:
    """Stdout (`-`), or a path that is no regular file.

    Into a pipe only 4096 bytes go unmixed with what others write. So a lock is held for the length of a line: a lock
    file's, because a lock that is inherited as an open file would be held by all workers together. The lock file holds
    a T while a line is not whole yet: who finds it there begins a new one.
    """

    def __init__(self, target: str, lock_file: Path) -> None:
        """Open it; raises `OSError` where that can't be done."""
        self.name = target
        self._between_threads = threading.Lock()
        self._lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not os.fstat(self._lock).st_size:
            os.pwrite(self._lock, b" ", 0)  # later there may be no room for it
        self._patient_from = 0.0
        self._fd = self._opened()

    def reopen(self) -> None:
        """Open the path anew; stdout stays what it is."""
        fresh = self._opened()
        if self._fd != _STDOUT:
            os.close(self._fd)
        self._fd = fresh

    def _opened(self) -> int:
        return _STDOUT if self.name == "-" else os.open(self.name, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def write(self, line: bytes) -> None:
        """Write a line, or give up on it: a slow reader must not hold up reviews for long."""
        now = monotonic()
        patience = _PATIENCE if now >= self._patient_from else 0.0
        try:
            with self._alone(now + max(patience, _LOCK_PATIENCE)):
                self._write_in_pieces(line, now + patience)
        except TimeoutError:
            if patience:
                self._patient_from = monotonic() + _COOL_DOWN
            raise

    def _write_in_pieces(self, data: bytes, deadline: float) -> None:
        torn = os.pread(self._lock, 1, 0) == b"T"
        if torn:
            data = b"\n" + data
        in_pieces = len(data) > _PIECE
        view = memoryview(data)
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while view:
            if not poll.poll(max(deadline - monotonic(), 0.0) * 1000):
                raise TimeoutError("nobody reads it")
            if in_pieces and not torn:
                os.pwrite(self._lock, b"T", 0)  # before the first piece: a worker may be killed at any moment
                torn = True
            view = view[os.write(self._fd, view[:_PIECE]) :]
            if view and not torn:
                os.pwrite(self._lock, b"T", 0)  # it may be a file, too, on a disk that is nearly full
                torn = True
        if torn:
            os.pwrite(self._lock, b" ", 0)

    @contextmanager
    def _alone(self, deadline: float) -> Iterator[None]:
        if not self._between_threads.acquire(timeout=max(deadline - monotonic(), 0.0)):
            raise TimeoutError("another thread is still writing")
        try:
            self._lock_until(deadline)
            try:
                yield
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)
        finally:
            self._between_threads.release()

    def _lock_until(self, deadline: float) -> None:
        """Take the lock. The kernel would wait for it without end."""
        while True:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # either may say that another holds it
                if monotonic() >= deadline:
                    raise TimeoutError("another worker is still writing") from None
                sleep(0.001)
            else:
                return
