"""The audit log: one JSON object a line for each decision, written before the answer is sent."""

import fcntl
import logging
import os
import select
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from webhook.server.record import Record, encode

log = logging.getLogger("tokenguard.audit")
_STDOUT = 1
_PIECE = select.PIPE_BUF
_PATIENCE = 0.5
"""How long one line may hold up reviews, in seconds, be it a slow reader or another writer that it waits for."""
_COOL_DOWN = 30.0
"""For so long after that nobody waits for the reader."""
_LOCK_PATIENCE = 0.01
"""So long a lock is waited for even then: whoever holds it doesn't wait, either."""


class AuditLog:
    """Whole lines to a file or to stdout (`-`), from several processes at once.

    A regular file is appended to with one write a line, which the kernel doesn't mix with another. Into a pipe only
    4096 bytes go unmixed, so there a lock is held for the length of a line: a lock file's, because a lock
    that is inherited as an open file would be held by all workers together. The lock file holds a T while a line is
    not whole yet: who finds it there begins a new one.
    """

    def __init__(self, target: str, lock_file: Path, failed: Callable[[], None] = lambda: None) -> None:
        """Open it; raises OSError where that can't be done. `failed` is called for every line that is lost."""
        self._target = target
        self._failed = failed
        self._between_threads = threading.Lock()
        self._lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._failing = False
        self._patient_from = 0.0
        self._fd = self._opened()
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)

    def reopen(self) -> None:
        """Open the file anew, as after it has been rotated; where that fails, go on with the one before."""
        try:
            fresh = self._opened()
        except OSError as error:
            log.error("the audit log %s can't be opened anew: %s", self._target, error.strerror)  # noqa: TRY400 - no bug
            return
        if self._fd != _STDOUT:
            os.close(self._fd)
        self._fd = fresh

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return _STDOUT if self._target == "-" else os.open(self._target, flags, 0o640)

    def write(self, line: Record) -> None:
        """Write one line; where that fails, say so in the log and count it."""
        data = encode(line) + b"\n"
        try:
            if self._regular:
                self._write_at_once(data)
            else:
                self._write_patiently(data)
        except OSError as error:
            self._failed()
            if not self._failing:
                why = error.strerror or error
                log.error("the audit log %s can't be written: %s", self._target, why)  # noqa: TRY400 - no bug to trace
            self._failing = True
        else:
            self._failing = False

    def _write_at_once(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        if written < len(data):  # the disk is full, or nearly: end the line, so that the next one stays whole
            os.write(self._fd, b"\n")
            raise OSError(f"{written} of {len(data)} bytes written")

    def _write_patiently(self, data: bytes) -> None:
        """Write to what may have a slow reader, who must not hold up reviews for long."""
        now = monotonic()
        patience = _PATIENCE if now >= self._patient_from else 0.0
        try:
            with self._alone(now + max(patience, _LOCK_PATIENCE)):
                self._write_in_pieces(data, now + patience)
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
