"""The audit log: one JSON object a line for each decision, written before the answer is sent."""

import datetime as dt
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

from webhook.audit.record import encode_record
from webhook.core.admission_request import AdmissionRequest
from webhook.core.decision import Decision, Outcome
from webhook.core.formatting import failure_text
from webhook.server.audit_log.file_sink import FileSink
from webhook.server.audit_log.sink import Sink, log
from webhook.server.audit_log.stream_sink import StreamSink
from webhook.server.metrics.definitions import AUDIT_FAILURES, AUDIT_SAMPLED_OUT
from webhook.server.metrics.recorder import Metrics
from webhook.server.options import ServeOptions, StartError

_ALWAYS_RECORDED = frozenset({Outcome.DENIED, Outcome.PATCHED})
_HASHES = 1 << 32


class AuditLog:
    """Writes the records of decisions to every sink.

    `level` is `decisions`, which leaves plain allows out, or `all`. `sample` is the share, 0 to 1, that is recorded of
    decisions that let an object pass unchanged. Denials, patches, exemptions and failed evaluations are always
    recorded. Sampling goes by a hash of the review's uid, so every sink gets the same records.

    A decision is recorded if one sink has its line. With `fail_closed`, `record` returns False for a decision that no
    sink takes; the caller then decides what to answer, and passes that decision to `record_later`.

    Make it in the master process, where errors at the start are reported; the worker inherits the open sinks. Reviews
    are recorded in one thread of the worker, and `check` is called in another, so a lock guards the sinks.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        metrics: Metrics,
        *,
        level: str = "decisions",
        sample: float = 1.0,
        fail_closed: bool = False,
    ) -> None:
        self._sinks = sinks
        self._metrics = metrics
        self._records_plain = level == "all"
        self._sample = sample
        self._fail_closed = fail_closed
        self._lock = threading.Lock()

    def record(self, request: AdmissionRequest, decision: Decision, now: dt.datetime, seconds: float) -> bool:
        """Write the record of a decision; `now` is aware, `seconds` is how long the evaluation took.

        Returns False only with `fail_closed`, if the decision has to be recorded and no sink takes the line.
        """
        if decision.nothing_to_report and not self._records_plain:
            return True
        share = self._recorded_share(decision)
        if share < 1 and zlib.crc32(request.uid.encode()) >= share * _HASHES:
            self._metrics.count(AUDIT_SAMPLED_OUT)
            return True
        line = encode_record(request, decision, now, seconds, sample=share)
        with self._lock:
            failed = [sink for sink in self._sinks if not sink.try_write(line)]
            for _ in failed:
                self._metrics.count(AUDIT_FAILURES)
            if failed and self._fail_closed and len(failed) == len(self._sinks):
                return False
            for sink in failed:
                sink.retry_later(line)
        return True

    def record_later(self, request: AdmissionRequest, decision: Decision, now: dt.datetime, seconds: float) -> None:
        """Write the record as soon as a sink takes lines again, in place of any other record that waits for that."""
        line = encode_record(request, decision, now, seconds, sample=self._recorded_share(decision))
        with self._lock:
            for sink in self._sinks:
                sink.retry_later(line)

    def reopen(self) -> None:
        """Reopen all files by their names, as after a rotation; on failure, log it and go on with the open one."""
        with self._lock:
            for sink in self._sinks:
                try:
                    sink.reopen()
                except OSError as error:
                    log.error("cannot reopen the audit log %s: %s", sink.name, error.strerror)

    def worker_exited(self) -> None:
        """Make the next worker start on a new line, as the previous one may have left half a line; for the master."""
        for sink in self._sinks:
            sink.is_torn = True

    def check(self) -> None:
        """Follow file rotation, and retry lines. To be called every half second, and in a worker that starts."""
        with self._lock:
            for sink in self._sinks:
                sink.check()
                sink.retry()

    def _recorded_share(self, decision: Decision) -> float:
        if decision.outcome in _ALWAYS_RECORDED or decision.exemptions or decision.problem:
            return 1.0
        return self._sample


def open_sinks(options: ServeOptions) -> list[Sink]:
    """Open `--audit-log`, whose reader may be slow unless it is a regular file, and `--audit-file`.

    Raises `StartError`.
    """
    target, file = options.audit_log, options.audit_file
    option = f"--audit-log {target}"
    try:
        is_file = target != "-" and (Path(target).is_file() or not Path(target).exists())
        sinks: list[Sink] = [FileSink(Path(target)) if is_file else StreamSink(target)]
        if file:
            option = f"--audit-file {file}"
            sinks.append(FileSink(file, max_bytes=options.audit_file_max_size, keep=options.audit_file_keep))
    except OSError as error:
        raise StartError(f"{option}: {failure_text(error)}") from error
    return sinks
