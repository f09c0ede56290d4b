"""Whole lines to the end of a file, from several processes, which rotate it or notice that somebody else has."""

import errno
import fcntl
import logging
import mmap
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

log = logging.getLogger("tokenguard.audit")
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_MODE = 0o640
_NEWLINE = ord("\n")
_GRACE = 1.0
"""So long, in seconds, a file that was taken away isn't made anew: logrotate trips over one that it didn't make."""


class LogFile:
    """A regular file at `path`; past `max_bytes` it becomes `path.1`, that one `path.2`, and so on to `path.KEEP`.

    A line is one write to the end of the file, which the kernel doesn't mix with another process's. Before each, the
    path is looked at: where another file is there it was rotated, and is opened anew; where there is none, whoever took
    it away has a second to put a new one there. What is written meanwhile goes to the end of the rotated file.

    Who finds the file full rotates it, under a lock on that very file. Who doesn't get the lock waits for nobody, but
    writes: so a file may be some lines too long.

    A disk that is nearly full takes part of a line. It stays torn, and whichever process writes next begins a new line.
    """

    def __init__(self, path: Path, *, max_bytes: int = 0, keep: int = 1) -> None:
        """Open it, or make it; raises `OSError` where that can't be done. With `max_bytes` 0 others rotate it."""
        self.name = str(path)
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._between_threads = threading.Lock()
        self._complaints: set[str] = set()
        self._gone_since = 0.0
        self._fd = os.open(path, _FLAGS, _MODE)
        self._is = _identity(os.fstat(self._fd))
        self._torn = mmap.mmap(-1, 1)  # 1 where the file ends within a line; anonymous, so forks share it
        self._torn[0] = _ends_within_line(path)

    def reopen(self) -> None:
        """Open the file anew. Raises `OSError` where that can't be done, and then goes on with the one before."""
        with self._between_threads:
            self._reopen()

    def write(self, line: bytes) -> None:
        """Write a line. Raises `OSError` where it can't be written."""
        with self._between_threads:
            size = self._size()
            if self._max_bytes and size and size + len(line) > self._max_bytes:
                self._rotate(len(line))
            if self._torn[0]:
                line = b"\n" + line
            written = os.write(self._fd, line)
            self._torn[0] = line[written - 1] != _NEWLINE
            if written < len(line):  # the disk is full, or nearly
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _reopen(self) -> None:
        fresh = os.open(self._path, _FLAGS, _MODE)
        if not os.fstat(fresh).st_size:
            self._torn[0] = 0
        os.close(self._fd)  # which lets go of its lock, too
        self._fd = fresh
        self._is = _identity(os.fstat(fresh))
        self._gone_since = 0.0

    def _size(self) -> int:
        """Return the size of the file at the path, which is the open one afterwards; 0 where there is none."""
        try:
            found = self._path.stat()
        except OSError:
            self._gone_since = self._gone_since or monotonic()
            if monotonic() - self._gone_since < _GRACE:
                return 0
        else:
            self._gone_since = 0.0
            if _identity(found) == self._is:
                return found.st_size
        self._tried(self._reopen, "can't be opened anew")
        return os.fstat(self._fd).st_size

    def _rotate(self, more: int) -> None:
        """Rotate the file, unless another process does or has. Where that fails it grows: better than a lost line."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # either may say that another holds it
            return
        if not self._tried(lambda: self._rotate_alone(more), "can't be rotated"):
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _rotate_alone(self, more: int) -> None:
        found = self._path.stat()
        if _identity(found) == self._is and found.st_size + more > self._max_bytes:
            self._make_room()
            self._path.rename(self._numbered(1))
        self._reopen()

    def _tried(self, do: Callable[[], None], what: str) -> bool:
        """Do something, and return whether it could be done; where it no longer can, say so in the log."""
        try:
            do()
        except OSError as error:
            if what not in self._complaints:
                log.error("the audit log %s %s: %s", self.name, what, error.strerror)  # noqa: TRY400 - no bug to trace
            self._complaints.add(what)
            return False
        self._complaints.discard(what)
        return True

    def _make_room(self) -> None:
        """Move the rotated files up by one, as far as they follow on each other; the last one goes."""
        free = next((at for at in range(1, self._keep) if not self._numbered(at).exists()), self._keep)
        for at in range(free, 1, -1):
            self._numbered(at - 1).rename(self._numbered(at))

    def _numbered(self, at: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{at}")


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _ends_within_line(path: Path) -> bool:
    """Say whether a file's last line has no end, as a process leaves it that found no room."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            return bool(size) and os.pread(file.fileno(), 1, size - 1) != b"\n"
    except OSError:  # it may be written and not read
        return False
