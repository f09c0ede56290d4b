"""What the audit log is written to: a file or a stream that takes lines, or fails to."""

import logging
from collections.abc import Sequence

log = logging.getLogger("tokenguard.audit")


class Sink:
    """Writes lines; one thread at a time calls it. `name` is its option's value.

    `failure_reason` says why the last line was not written, without the name; empty if it was. `is_torn` says that the
    last line may be unfinished: the next one then begins with a newline.

    The last line that was not written is retried. So room on a disk is noticed even if no review comes, and the last
    failure is recorded.
    """

    is_torn = False
    failure_reason = ""
    _pending = b""

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, line: bytes) -> None:
        """Write a whole line. Raises `OSError` if that is not possible, or not in time."""
        raise NotImplementedError

    def reopen(self) -> None:
        """Open the name again. Raises `OSError` if that is not possible, and goes on with what is open."""
        raise NotImplementedError

    def check(self) -> None:
        """Follow what other programs do to the file. Called twice a second, and in a worker that starts."""

    def try_write(self, line: bytes) -> bool:
        """Write a line and return whether that was possible. The first failure and the recovery are logged."""
        try:
            self.write(line)
        except OSError as error:
            reason = error.strerror or error
            if not self.failure_reason:
                log.error("cannot write the audit log %s: %s", self.name, reason)  # noqa: TRY400 - no bug
            self.failure_reason = f"cannot write the audit log: {reason}"
            return False
        if self.failure_reason:
            self.failure_reason = ""
            log.info("the audit log %s is writable again", self.name)
        return True

    def retry_later(self, line: bytes) -> None:
        """Keep a line for the next retry, in place of any other."""
        self._pending = line

    def retry(self) -> None:
        """Write the line that waits."""
        if self._pending and self.try_write(self._pending):
            self._pending = b""


def failure_reason(sinks: Sequence[Sink]) -> str:
    """Return why no sink takes lines, without paths: pod authors read it. Empty if one does."""
    reasons = [sink.failure_reason for sink in sinks]
    return reasons[0] if reasons and all(reasons) else ""
