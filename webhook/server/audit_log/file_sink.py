"""An audit log file that is rotated by its size, or by another program."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from webhook.server.audit_log.sink import Sink, log

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_MODE = 0o640
_RECREATE_DELAY = 1.0
"""Seconds before a missing file is created again: logrotate fails if the file that it creates already exists."""


class FileSink(Sink):
    """A regular file at `path`; at `max_bytes` it becomes `path.1`, that one `path.2`, and so on to `path.KEEP`.

    A line costs one write. Its size is counted in memory. Rotation by another program is noticed by `check`: if
    the path names another file, that is opened; if it names none, one is created a second later. Lines written until
    then are at the end of the rotated file.

    A nearly full disk takes a part of a line. The next line then begins with a newline, also after a restart.
    """

    _missing_since: float

    def __init__(self, path: Path, *, max_bytes: int = 0, keep: int = 1) -> None:
        """Open or create the file. Raises `OSError` if that is not possible. With `max_bytes` 0 it is not rotated."""
        super().__init__(str(path))
        self._path = path
        self._max_bytes = max_bytes or sys.maxsize
        self._keep = keep
        self._reported: set[str] = set()
        self._use(os.open(path, _FLAGS, _MODE))

    def write(self, line: bytes) -> None:
        """Write a line. Raises `OSError` if that is not possible."""
        if self._size + len(line) > self._max_bytes:
            self._rotate_if_full(len(line))
        if self.is_torn:
            line = b"\n" + line
        written = os.write(self._fd, line)
        self._size += written
        self.is_torn = written < len(line)
        if self.is_torn:  # the disk is full, or nearly
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def reopen(self) -> None:
        """Open the path again. Raises `OSError` if that is not possible, and goes on with the open file."""
        fd = os.open(self._path, _FLAGS, _MODE)
        os.close(self._fd)
        self._use(fd)

    def check(self) -> None:
        """Open the path again if it names another file, or if it has named none for a second."""
        try:
            status = self._path.stat()
        except OSError:
            self._missing_since = self._missing_since or monotonic()
            if monotonic() - self._missing_since < _RECREATE_DELAY:
                return
        else:
            if _identity(status) == self._identity:
                self._use(self._fd)  # it may have been truncated, or another worker's last line is torn
                return
        self._attempt(self.reopen, "reopen")

    def _use(self, fd: int) -> None:
        status = os.fstat(fd)
        self._fd = fd
        self._identity = _identity(status)
        self._size = status.st_size
        self.is_torn = status.st_size > 0 and not _ends_with_newline(self._path)
        self._missing_since = 0.0

    def _rotate_if_full(self, length: int) -> None:
        """Rotate the file. If that fails it grows: better than a lost line."""
        self.check()
        if self._size and self._size + length > self._max_bytes and not self._missing_since:
            self._attempt(self._rotate, "rotate")

    def _rotate(self) -> None:
        """Move the rotated files up by one, as far as there is no gap, and begin a file; the last one is dropped."""
        gap = next((at for at in range(1, self._keep) if not self._rotated(at).exists()), self._keep)
        for at in range(gap, 1, -1):
            self._rotated(at - 1).rename(self._rotated(at))
        self._path.rename(self._rotated(1))
        self.reopen()

    def _rotated(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _attempt(self, action: Callable[[], None], verb: str) -> None:
        """Call `action`; log its failure once, until it succeeds."""
        try:
            action()
        except OSError as error:
            if verb not in self._reported:
                log.error("cannot %s the audit log %s: %s", verb, self.name, error.strerror)
            self._reported.add(verb)
        else:
            self._reported.discard(verb)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _ends_with_newline(path: Path) -> bool:
    """Return whether the last byte of a file is a newline; False if the file cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:
        return False
