"""The audit log: one JSON object a line for each decision, written before the answer is sent."""

import datetime as dt
import stat
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from webhook.audit.record import encode, record
from webhook.core.decision import Decision, Outcome
from webhook.core.request import Request
from webhook.server.audit_file import LogFile
from webhook.server.audit_output import Destination, Output
from webhook.server.audit_stream import LogStream
from webhook.server.untold import in_place_of

INTERVAL = 1.0
"""Seconds after which a line that could not be written is tried again."""
_ALWAYS = frozenset({Outcome.DENIED, Outcome.PATCHED})
_HASHES = 1 << 32


class AuditLog:
    """What is told of decisions, and where.

    `level` is `decisions`, which leaves plain allows out, or `all`. `sample` is the share, 0 to 1, that is written of
    those decisions that let an object pass as it is; whatever was denied, changed, exempted or could not be judged
    is always written. It goes by a hash of the review's uid: a review is written to every destination, or to none.

    A decision is told where one destination has its line. With `must_tell`, what would be changed or exempted untold is
    refused. Between `start` and `stop`, in a worker, the last line that a destination didn't take is tried again.
    """

    def __init__(  # noqa: PLR0913 - what is told, where, and who counts what is not
        self,
        destinations: Sequence[Destination],
        *,
        level: str = "decisions",
        sample: float = 1.0,
        must_tell: bool = False,
        lost: Callable[[], None] = lambda: None,
        sampled_out: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the destinations. `lost` is called for each line that one lacks, `sampled_out` for each left out."""
        self._outputs = [Output(one, lost) for one in destinations]
        self._plain_too = level == "all"
        self._sample = sample
        self._must_tell = must_tell
        self._sampled_out = sampled_out
        self._stopping = threading.Event()

    def tell(self, request: Request, decision: Decision, now: dt.datetime, seconds: float) -> Decision:
        """Write the line of a decision, where one is wanted, and return what may be answered: mostly this decision.

        `now` is aware, `seconds` is what deciding took.
        """
        if decision.plain and not self._plain_too:
            return decision
        optional = not (decision.outcome in _ALWAYS or decision.exemptions or decision.problem)
        if optional and zlib.crc32(request.uid.encode()) >= self._sample * _HASHES:
            self._sampled_out()
            return decision
        sample = self._sample if optional else 1.0
        line = encode(record(request, decision, now, seconds, sample=sample)) + b"\n"
        failed = [one for one in self._outputs if not one.write(line)]
        if failed and len(failed) == len(self._outputs) and self._must_tell:
            refusal = in_place_of(request, decision, failed[0].why)
            if refusal is not None:
                decision = refusal
                line = encode(record(request, decision, now, seconds)) + b"\n"
        for one in failed:
            one.keep(line)
        return decision

    def why_not_told(self) -> str:
        """Return why decisions that have to be told can't be, in any worker; empty where they can."""
        if not self._must_tell or not self._outputs or not all(one.failing for one in self._outputs):
            return ""
        return self._outputs[0].why or "the audit log can't be written: another worker's log says why"

    def worker_died(self, pid: int) -> None:
        """Forget what a worker that is gone had found out."""
        for one in self._outputs:
            one.forget(pid)

    def reopen(self) -> None:
        """Open all files anew, as after they have been rotated."""
        for one in self._outputs:
            one.reopen()

    def start(self) -> None:
        """Begin to try again what could not be written."""
        threading.Thread(target=self._run, name="tokenguard-audit", daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            for one in self._outputs:
                one.try_again()


def destination(target: str, lock_file: Path) -> Destination:
    """Open what `--audit-log` names: a regular file, or `-` or any other path, whose reader may be slow.

    Raises `OSError` where it can't be opened.
    """
    try:
        regular = target != "-" and stat.S_ISREG(Path(target).stat().st_mode)
    except FileNotFoundError:
        regular = True  # it is made
    return LogFile(Path(target)) if regular else LogStream(target, lock_file)
