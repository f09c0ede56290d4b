"""The audit log: one JSON object a line for each decision, written before the answer is sent."""

import datetime as dt
import logging
import stat
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from webhook.audit.record import encode, record
from webhook.core.decision import Decision, Outcome
from webhook.core.request import Request
from webhook.server.audit_file import LogFile
from webhook.server.audit_stream import LogStream

log = logging.getLogger("tokenguard.audit")
_ALWAYS = frozenset({Outcome.DENIED, Outcome.PATCHED})
_HASHES = 1 << 32


class Destination(Protocol):
    """Where lines go; `name` is what a person called it."""

    name: str

    def write(self, line: bytes) -> None:
        """Write a whole line. Raises `OSError` where it can't be written, or not in time."""

    def reopen(self) -> None:
        """Begin anew with the file of this name. Raises `OSError` where that can't be done, and goes on as before."""


class AuditLog:
    """What is told of decisions, and where.

    `level` is `decisions`, which leaves plain allows out, or `all`. `sample` is the share, 0 to 1, that is written of
    those decisions that let an object pass as it is; whatever was denied, changed or exempted is always written. It
    goes by a hash of the review's uid: the same review is written to every destination, or to none.
    """

    def __init__(
        self,
        destinations: Sequence[Destination],
        *,
        level: str = "decisions",
        sample: float = 1.0,
        lost: Callable[[], None] = lambda: None,
        sampled_out: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the destinations. `lost` is called for each line that one lacks, `sampled_out` for each left out."""
        self._destinations = destinations
        self._plain_too = level == "all"
        self._sample = sample
        self._lost = lost
        self._sampled_out = sampled_out
        self._failing: set[str] = set()

    def tell(self, request: Request, decision: Decision, now: dt.datetime, seconds: float) -> None:
        """Write the line of a decision, where one is wanted; `now` is aware, `seconds` is what deciding took."""
        if decision.plain and not self._plain_too:
            return
        optional = not (decision.outcome in _ALWAYS or decision.exemptions or decision.problem)
        if optional and zlib.crc32(request.uid.encode()) >= self._sample * _HASHES:
            self._sampled_out()
            return
        told = record(request, decision, now, seconds, sample=self._sample if optional else 1.0)
        self._write(encode(told) + b"\n")

    def _write(self, line: bytes) -> None:
        """Write a line everywhere; where that fails, count it, and say so in the log when it begins to."""
        for one in self._destinations:
            try:
                one.write(line)
            except OSError as error:
                self._lost()
                if one.name not in self._failing:
                    why = error.strerror or error
                    log.error("the audit log %s can't be written: %s", one.name, why)  # noqa: TRY400 - no bug to trace
                self._failing.add(one.name)
            else:
                self._failing.discard(one.name)

    def reopen(self) -> None:
        """Open all files anew, as after they have been rotated; where that fails, go on with the one before."""
        for one in self._destinations:
            try:
                one.reopen()
            except OSError as error:
                log.error("the audit log %s can't be opened anew: %s", one.name, error.strerror)  # noqa: TRY400 - no bug


def destination(target: str, lock_file: Path) -> Destination:
    """Open what `--audit-log` names: a regular file, or `-` or any other path, whose reader may be slow.

    Raises `OSError` where it can't be opened.
    """
    try:
        regular = target != "-" and stat.S_ISREG(Path(target).stat().st_mode)
    except FileNotFoundError:
        regular = True  # it is made
    return LogFile(Path(target)) if regular else LogStream(target, lock_file)
