"""What the audit log is written to, and the state of one such sink: whether it takes lines, and which waits for it."""

import logging
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("tokenguard.audit")


class Sink(Protocol):
    """Takes lines; one thread at a time calls it. `name` is what the user called it."""

    name: str
    is_torn: bool
    """Whether the last line may be unfinished; the next one then begins with a newline."""

    def write(self, line: bytes) -> None:
        """Write a whole line. Raises `OSError` if that is not possible, or not in time."""

    def reopen(self) -> None:
        """Open the name again. Raises `OSError` if that is not possible, and goes on with what is open."""

    def start(self) -> None:
        """Continue in a worker process, with what the master opened."""

    def check(self) -> None:
        """Follow what other programs do to the file. Called every second."""


class SinkWriter:
    """Writes to one sink, and retries the last line that it did not take.

    The retries detect that a disk has room again even if no review comes, and the record of the last failure is
    written then.
    """

    def __init__(self, sink: Sink, on_write_error: Callable[[], None]) -> None:
        """Take an open sink. `on_write_error` is called for each line that it does not take when it is due."""
        self._sink = sink
        self._on_write_error = on_write_error
        self._pending = b""
        self.failure_reason = ""
        """Why the last line was not written, without the sink's path; empty if it was."""

    def write(self, line: bytes) -> bool:
        """Write a line and return whether that was possible; the first failure and the recovery are logged."""
        if self._try_write(line):
            return True
        self._on_write_error()
        return False

    def retry_later(self, line: bytes) -> None:
        """Keep a line for the next retry, in place of any other."""
        self._pending = line

    def check(self) -> None:
        """Have the sink check its file, and retry the line that waits."""
        self._sink.check()
        if self._pending and self._try_write(self._pending):
            self._pending = b""

    def reopen(self) -> None:
        """Reopen a file by its name; on failure, log it and go on with the open one."""
        try:
            self._sink.reopen()
        except OSError as error:
            log.error("cannot reopen the audit log %s: %s", self._sink.name, error.strerror)  # noqa: TRY400 - no bug

    def start(self) -> None:
        """Continue in a worker process."""
        self._sink.start()

    def expect_torn_line(self) -> None:
        """End the last line before the next one, because the process that wrote it may not have finished it."""
        self._sink.is_torn = True

    def _try_write(self, line: bytes) -> bool:
        try:
            self._sink.write(line)
        except OSError as error:
            reason = error.strerror or error
            if not self.failure_reason:
                log.error("cannot write the audit log %s: %s", self._sink.name, reason)  # noqa: TRY400 - no bug
            self.failure_reason = f"cannot write the audit log: {reason}"
            return False
        if self.failure_reason:
            self.failure_reason = ""
            log.info("the audit log %s can be written again", self._sink.name)
        return True
