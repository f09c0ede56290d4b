"""The audit log: one JSON object a line for each decision, written before the answer is sent.

Never in it: tokens, a Secret's data, an env variable's value. The values in `patch` are the policy's own words.
"""

import datetime as dt
import fcntl
import logging
import os
import select
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from webhook.core.decision import Decision
from webhook.core.objects import LEGACY_TOKEN_ACCOUNT, CronJob, PodTemplate, Secret, TokenRequest, Workload
from webhook.core.patch import Operation
from webhook.core.request import Request

log = logging.getLogger("tokenguard.audit")
_STDOUT = 1
_LONGEST = 1024
_PIECE = select.PIPE_BUF
_PATIENCE_MS = 1000


class _Finding(msgspec.Struct, gc=False):
    rule: str
    action: str
    path: str
    detail: str


class Record(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, gc=False):
    """One line. `owner` is `Kind/name` of the controller; `duration_ms` is what reading and deciding took."""

    time: dt.datetime
    id: str
    uid: str
    webhook: str
    decision: str
    operation: str
    resource: str
    namespace: str
    name: str | None = None
    generate_name: str | None = None
    owner: str
    service_account: str
    user: str
    dry_run: bool
    findings: list[_Finding]
    patch: tuple[Operation, ...]
    exemption: str
    policy: str
    duration_ms: float
    note: str | None = None
    problem: str | None = None


_encode = msgspec.json.Encoder().encode


def record(request: Request, decision: Decision, now: dt.datetime, seconds: float) -> Record:
    """Return the line that tells of a decision; `now` is aware."""
    owner = generate_name = account = ""
    found = request.object
    name = request.name
    if found is not None:
        meta = found.metadata
        controller = meta.controller
        owner = f"{controller.kind}/{controller.name}" if controller else ""
        name = name or meta.name or ""
        generate_name = meta.generate_name or ""
        account = _account(request, found)
    return Record(
        time=now.astimezone(dt.UTC),
        id=request.decision_id,
        uid=request.uid[:_LONGEST],
        webhook=request.phase.value,
        decision=decision.outcome.value,
        operation=request.operation[:_LONGEST],
        resource=request.resource[:_LONGEST],
        namespace=request.namespace[:_LONGEST],
        owner=owner[:_LONGEST],
        service_account=account[:_LONGEST],
        user=request.user[:_LONGEST],
        dry_run=request.dry_run,
        findings=[_Finding(one.rule, one.action.value, one.path, one.detail) for one in decision.findings],
        patch=decision.patch,
        exemption=exemption_of(decision),
        policy=decision.policy,
        duration_ms=round(seconds * 1000, 3),
        name=name[:_LONGEST] or None,
        generate_name=None if name else generate_name[:_LONGEST] or None,
        note=decision.note or None,
        problem=decision.problem or None,
    )


def exemption_of(decision: Decision) -> str:
    """Return under which exemptions a decision was made: `rule: reason (until day)`."""
    if not decision.exemptions:
        return ""
    return "; ".join(f"{rule}: {exemption}" for rule, exemption in decision.exemptions)


def _account(request: Request, found: object) -> str:
    if isinstance(found, TokenRequest):
        return request.name
    if isinstance(found, Secret):
        return found.metadata.annotation(LEGACY_TOKEN_ACCOUNT)
    if isinstance(found, Workload | CronJob):
        found = found.template
    return (found.spec.service_account_name or "default") if isinstance(found, PodTemplate) else ""


class AuditLog:
    """Whole lines to a file or to stdout (`-`), from several processes at once.

    A regular file is appended to with one write a line, which the kernel doesn't mix with another. Into a pipe only
    4096 bytes go unmixed, so there a lock is held for the length of a line: a lock file's, because a lock
    that is inherited as an open file would be held by all workers together.
    """

    def __init__(self, target: str, lock_file: Path, failed: Callable[[], None] = lambda: None) -> None:
        """Open it; raises OSError where that can't be done. `failed` is called for every line that is lost."""
        self._target = target
        self._failed = failed
        self._between_threads = threading.Lock()
        self._lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._stalled = False
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
        data = _encode(line) + b"\n"
        try:
            if self._regular:
                self._write_at_once(data)
            else:
                with self._alone():
                    self._write_in_pieces(data)
        except OSError as error:
            self._failed()
            if not self._stalled:
                why = error.strerror or error
                log.error("the audit log %s can't be written: %s", self._target, why)  # noqa: TRY400 - no bug to trace
            self._stalled = True
        else:
            self._stalled = False

    def _write_at_once(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        if written < len(data):  # the disk is full, or nearly: end the line, so that the next one stays whole
            os.write(self._fd, b"\n")
            raise OSError(f"{written} of {len(data)} bytes written")

    def _write_in_pieces(self, data: bytes) -> None:
        """Write to what may have a slow reader, who must not hold up reviews for long."""
        if os.pread(self._lock, 1, 0) == b"T":  # a line was torn off: begin a new one
            data = b"\n" + data
        view = memoryview(data)
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        torn = False
        while view:
            if not poll.poll(0 if self._stalled else _PATIENCE_MS):
                if torn:
                    os.pwrite(self._lock, b"T", 0)
                raise TimeoutError("nobody reads it")
            view = view[os.write(self._fd, view[:_PIECE]) :]
            torn = True
        os.pwrite(self._lock, b" ", 0)

    @contextmanager
    def _alone(self) -> Iterator[Any]:
        with self._between_threads:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)
