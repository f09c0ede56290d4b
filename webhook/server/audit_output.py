"""A place that the audit log is written to, and whether it takes lines: one answer for all workers, kept up to date."""

import logging
import mmap
import os
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("tokenguard.audit")
_PID_BYTES = 4


class Destination(Protocol):
    """Where lines go; `name` is what a person called it."""

    name: str

    def write(self, line: bytes) -> None:
        """Write a whole line. Raises `OSError` where it can't be written, or not in time."""

    def reopen(self) -> None:
        """Begin anew with the file of this name. Raises `OSError` where that can't be done, and goes on as before."""


class Output:
    """One destination. Make it before the workers are forked: what one finds out, they then all know.

    Who fails to write a line keeps it, if told to, and tries it again and again: so a disk that has room again is
    noticed where no review comes that would try it, and the log tells of the time in which it told nothing.
    """

    def __init__(self, destination: Destination, lost: Callable[[], None]) -> None:
        """Take the destination; `lost` is called for each line that it didn't take when it was due."""
        self._destination = destination
        self._lost = lost
        self._failing = mmap.mmap(-1, _PID_BYTES)  # which worker failed last, 0: none; anonymous, so forks share it
        self._kept = b""
        self._complained = False
        self.why = ""
        """Why this worker's last line could not be written, if so; without the path: authors of pods may read it."""

    @property
    def failing(self) -> bool:
        """Whether the last line that any worker had for it could not be written."""
        return self._failing[:] != bytes(_PID_BYTES)

    def write(self, line: bytes) -> bool:
        """Write a line, and return whether it is written; where it begins to fail, say so in the log."""
        if self._wrote(line):
            return True
        self._lost()
        return False

    def keep(self, line: bytes) -> None:
        """Try this line again, in place of any before it."""
        self._kept = line

    def try_again(self) -> None:
        """Write the line that was kept, if one was. Any thread may call it."""
        line = self._kept
        if line and self._wrote(line) and self._kept is line:  # a review may have failed in between
            self._kept = b""

    def forget(self, pid: int) -> None:
        """Take a failure for over whose worker is gone, and with it the line that it would have tried."""
        if self._failing[:] == pid.to_bytes(_PID_BYTES):
            self._failing[:] = bytes(_PID_BYTES)

    def reopen(self) -> None:
        """Open a file anew, as after it was rotated; where that fails, say so and go on with the one before."""
        try:
            self._destination.reopen()
        except OSError as error:
            log.error("the audit log %s can't be opened anew: %s", self._destination.name, error.strerror)  # noqa: TRY400

    def _wrote(self, line: bytes) -> bool:
        name = self._destination.name
        try:
            self._destination.write(line)
        except OSError as error:
            self._failing[:] = os.getpid().to_bytes(_PID_BYTES)
            reason = error.strerror or error
            self.why = f"the audit log can't be written: {reason}"
            if not self._complained:
                log.error("the audit log %s can't be written: %s", name, reason)  # noqa: TRY400 - no bug to trace
            self._complained = True
            return False
        self._failing[:] = bytes(_PID_BYTES)
        if self._complained:
            log.info("the audit log %s can be written again", name)
        self._complained = False
        return True
