"""An AdmissionReview's bytes in, the answer's bytes out; the one function behind both review paths."""

import datetime as dt
import logging
import time
import traceback
from collections.abc import Callable

from webhook.core.decision import Decision, Outcome
from webhook.core.evaluate import evaluate, without_policy
from webhook.core.kinds import ADVISED, Subject
from webhook.core.notice import Notice, notice
from webhook.core.policy.model import Mode
from webhook.core.request import Phase, Request, Unreadable, read_review
from webhook.server.admission_response import FORBIDDEN, respond
from webhook.server.audit_log.logger import AuditLog
from webhook.server.http_errors import Refusal, refusal_body
from webhook.server.http_message import HttpResponse
from webhook.server.metrics.definitions import ReviewFailure
from webhook.server.metrics.recorder import Metrics
from webhook.server.state import Snapshot, State

log = logging.getLogger("tokenguard.review")

PHASES = {"/mutate": Phase.MUTATE, "/validate": Phase.VALIDATE}


_UNREADABLE = 400, "BadRequest"
_INVALID = 422, "Invalid"
_INTERNAL = 500, "InternalError"
_NOT_READY = 503, "ServiceUnavailable"
_UNKNOWN_SENDER = (
    "tokenguard answers only who shows a certificate of the CA in --client-ca: "
    "have the API server present one, by the kubeConfigFile in its AdmissionConfiguration"
)
_FAILURES = {
    _NOT_READY: ReviewFailure.NOT_READY, _INTERNAL: ReviewFailure.INTERNAL_ERROR,
    _UNREADABLE: ReviewFailure.UNREADABLE,
}  # fmt: skip


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class ReviewHandler:
    """Answers reviews by the state, tells the audit log, counts."""

    def __init__(  # noqa: PLR0913 - what is judged by, where it is told, and what may be left out
        self,
        state: State,
        audit: AuditLog,
        metrics: Metrics,
        *,
        max_body_bytes: int = 8 << 20,
        tell: Callable[[Notice], None] | None = None,
        known_senders_only: bool = False,
        clock: Callable[[], dt.datetime] = _utc_now,
    ) -> None:
        """Take what is judged by and where it is told.

        `max_body_bytes` is the largest review that is read, and `tell` gets what the owners of pods are to be told.
        `known_senders_only` reads no review of who has not shown a certificate that was verified.
        """
        self._state = state
        self._audit = audit
        self._metrics = metrics
        self.max_body_bytes = max_body_bytes
        self._tell = tell
        self._known_senders_only = known_senders_only
        self._clock = clock

    def handle(self, body: bytes, phase: Phase) -> HttpResponse:
        """Return the answer to one review. Whatever the body holds, there is one."""
        started = time.perf_counter()
        snapshot = self._state.snapshot
        try:
            request = read_review(body, phase, snapshot.policy.workloads if snapshot else {})
        except Unreadable as error:
            return self.error(400, Refusal.NOT_A_REVIEW, str(error))
        except Exception as error:  # noqa: BLE001 - a bug must not cost more than this one answer
            self._report(error, "a body that couldn't be read")
            return self.error(400, Refusal.NOT_A_REVIEW, "the body can't be read: tokenguard's log says more")
        now = self._clock()
        decision, status = self._decided(request, snapshot, now)
        failure = _FAILURES.get(status, ReviewFailure.UNREADABLE)
        seconds = time.perf_counter() - started
        if not self._audit.record(request, decision, now, seconds):
            fallback = fallback_decision(request, decision, self._audit.failure_reason)
            if fallback is not None:
                decision, status, failure = fallback, _NOT_READY, ReviewFailure.AUDIT_UNAVAILABLE
            self._audit.record_later(request, decision, now, seconds)
        if decision.problem:
            self._metrics.count_failure(phase, failure)
        self._metrics.count_review(request, decision, time.perf_counter() - started)
        if self._tell and (told := notice(request, decision)):
            self._tell(told)
        return HttpResponse(200, respond(request, decision, status))

    def _decided(
        self, request: Request, snapshot: Snapshot | None, now: dt.datetime
    ) -> tuple[Decision, tuple[int, str]]:
        """Return the decision under the snapshot with which the request was read, and a denial's code and reason."""
        try:
            if snapshot is not None:
                decision = evaluate(request, snapshot.policy, snapshot.cluster, now)
            elif (settled := without_policy(request)) is not None:
                decision = settled
            else:
                problem = f"tokenguard is not ready: {self._state.readiness_error}"
                return Decision(_strictest(request), problem=problem), _NOT_READY
        except Exception as error:  # noqa: BLE001 - as above
            self._report(error, f"decision {request.decision_id!r}")
            return _undecided(request, snapshot), _INTERNAL
        if decision.mistakes:
            return decision, _INVALID
        return decision, _UNREADABLE if decision.problem else FORBIDDEN

    def check_request(
        self, media_type: str, encoding: str, size: int, *, has_client_certificate: bool
    ) -> HttpResponse | None:
        """Return why a review with these headers isn't read, or None if it is.

        `size` is the Content-Length, `has_client_certificate` says whether its sender has shown a certificate that was
        verified.
        """
        if self._known_senders_only and not has_client_certificate:
            return self.error(403, Refusal.NO_CLIENT_CERTIFICATE, _UNKNOWN_SENDER)
        if encoding not in {"", "identity"}:
            return self.error(415, Refusal.ENCODED, "send the review as it is, without a Content-Encoding")
        if media_type != "application/json" and media_type.partition(";")[0].strip().lower() != "application/json":
            return self.error(415, Refusal.WRONG_MEDIA_TYPE, "send the review as Content-Type: application/json")
        return self.too_large() if size > self.max_body_bytes else None

    def too_large(self) -> HttpResponse:
        """Return the answer to a review that is larger than the limit."""
        return self.error(
            413, Refusal.TOO_LARGE, f"the review is larger than {self.max_body_bytes} bytes: see --max-body-bytes"
        )

    def error(self, status: int, refusal: Refusal, why: str) -> HttpResponse:
        """Return the answer to what is no review; `why` is for whoever sent it, `refusal` for the metrics."""
        self._metrics.count_refusal(status, refusal)
        return HttpResponse(status, refusal_body(status, why))

    def internal_error(self, error: BaseException) -> HttpResponse:
        """Return the answer to a request on which the HTTP protocol itself failed."""
        self._report(error, "a request that couldn't be read")
        return self.error(500, Refusal.OTHER, "an internal error of tokenguard: its log says more")

    def _report(self, error: BaseException, what: str) -> None:
        """Log where a bug is; the error's own message is left out, because it may quote the object."""
        self._metrics.count_internal_error()
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("internal error, %s: %s\n%s", what, type(error).__name__, where)


def fallback_decision(request: Request, decision: Decision, reason: str) -> Decision | None:
    """Return the denial of a patch or an exemption that cannot be recorded; None if the decision stays.

    `reason` is shown to the author. Denied is what the policy changes, and what an exemption lets pass that would be
    changed or denied otherwise. Any other decision stays: a denial, what passes unchanged as it would without
    tokenguard, and everything where the policy only warns or audits.
    """
    if decision.outcome is Outcome.DENIED or decision.mode is not Mode.ENFORCE or request.subject in ADVISED:
        return None
    patched = decision.outcome is Outcome.PATCHED
    if not (patched or decision.exemptions):
        return None
    problem = f"this {'patch' if patched else 'exemption'} must be recorded (--audit-failure=deny): {reason}"
    return Decision(Outcome.DENIED, policy=decision.policy, mode=decision.mode, problem=problem)


def _strictest(request: Request) -> Outcome:
    """Return what is done, at the worst, about a request that nobody could judge."""
    return Outcome.WARNED if request.subject in ADVISED else Outcome.DENIED


def _undecided(request: Request, snapshot: Snapshot | None) -> Decision:
    """Decide where `evaluate` failed: nothing unjudged is let through, unless the policy never rejects there."""
    problem = "tokenguard met an error of its own and couldn't judge this: its log says more under this id"
    strictest = _strictest(request)
    if snapshot is None or request.subject is Subject.POLICY:
        return Decision(strictest, problem=problem)
    mode = Mode.ENFORCE
    try:
        labels = snapshot.cluster.namespace_labels(request.namespace)
        mode = snapshot.policy.in_namespace(request.namespace, labels).mode
    except Exception:  # noqa: BLE001 - it may be what failed before
        log.error("the mode of a namespace couldn't be found out: taken for enforce")  # noqa: TRY400 - told already
    outcome = {Mode.ENFORCE: strictest, Mode.WARN: Outcome.WARNED, Mode.AUDIT: Outcome.ALLOWED}[mode]
    return Decision(outcome, policy=snapshot.policy.revision, mode=mode, problem=problem)
