"""From the bytes of an AdmissionReview to those of its answer: the function behind both review paths."""

import datetime as dt
import logging
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from webhook.core.admission_request import AdmissionRequest, InvalidReviewError, Phase, read_review
from webhook.core.cluster_state import DEFAULT_NAMESPACE
from webhook.core.decision import INTERNAL_ERROR, UNAVAILABLE, Decision, Outcome
from webhook.core.evaluate import allow_unpatched, evaluate, policy_independent_decision
from webhook.core.kinds import WARN_ONLY, Subject
from webhook.core.owner_event import OwnerEvent, build_owner_event
from webhook.core.policy.model import Mode
from webhook.core.policy_change import DURATION, evaluate_after_change
from webhook.core.snapshot import Snapshot
from webhook.server.admission_response import encode_response
from webhook.server.audit_log.logger import AuditLog
from webhook.server.http_errors import Refusal, error_body
from webhook.server.http_message import HttpResponse
from webhook.server.metrics.definitions import FAILURES, INTERNAL_ERRORS, REFUSALS, ReviewFailure
from webhook.server.metrics.recorder import Metrics
from webhook.server.readiness import readiness_error
from webhook.server.state import State

log = logging.getLogger("tokenguard.review")

_utc_now = partial(dt.datetime.now, dt.UTC)
PHASES = {"/mutate": Phase.MUTATE, "/validate": Phase.VALIDATE}
_FAILURES = {UNAVAILABLE: ReviewFailure.NOT_READY, INTERNAL_ERROR: ReviewFailure.INTERNAL_ERROR}
_NO_CLIENT_CERTIFICATE = (
    "a client certificate of the CA in --client-ca is required: "
    "configure it in the kubeConfigFile of the API server's AdmissionConfiguration"
)


class Review(NamedTuple):
    """A review that has been read, with the snapshot that it is evaluated with, and the time of its evaluation.

    `started` is when reading it began and `arrived` when it had arrived, in seconds of `time.perf_counter`.
    """

    request: AdmissionRequest
    snapshot: Snapshot | None
    now: dt.datetime
    started: float
    arrived: float

    @property
    def is_slow(self) -> bool:
        """Whether its evaluation may take a second or more: it reads a policy document."""
        return self.request.subject is Subject.POLICY


class ReviewHandler:
    """Evaluates reviews, has their decisions recorded and counted, and encodes the answers.

    `max_body_bytes` is the largest review that is read. `create_event` gets what the owners of pods should know. With
    `requires_client_certificate` a review is read only if its sender has shown a certificate that was verified. With
    `allows_unpatched_pods` a pod is not denied because the mutating webhook did not run.
    """

    def __init__(  # noqa: PLR0913 - its parts, and independent settings
        self,
        state: State,
        audit: AuditLog,
        metrics: Metrics,
        *,
        max_body_bytes: int = 8 << 20,
        create_event: Callable[[OwnerEvent], None] | None = None,
        requires_client_certificate: bool = False,
        allows_unpatched_pods: bool = False,
        own_namespace: str = DEFAULT_NAMESPACE,
        probe_namespace: str | None = None,
        clock: Callable[[], dt.datetime] = _utc_now,
    ) -> None:
        self._state = state
        self._audit = audit
        self._metrics = metrics
        self.max_body_bytes = max_body_bytes
        self._create_event = create_event
        self._requires_client_certificate = requires_client_certificate
        self._allows_unpatched_pods = allows_unpatched_pods
        self._own_namespace = own_namespace
        self._probe_namespace = probe_namespace
        self._clock = clock

    def read(self, body: bytes, phase: Phase, arrived: float) -> Review | HttpResponse:
        """Return a review that arrived at this time (`time.perf_counter`), or the answer if it cannot be read."""
        started = time.perf_counter()
        snapshot = self._state.snapshot
        try:
            request = read_review(body, phase, snapshot.policy.workloads if snapshot else {})
        except InvalidReviewError as error:
            return self.error(400, Refusal.NOT_A_REVIEW, str(error))
        except Exception as error:  # noqa: BLE001 - a bug must not cost more than this one answer
            self._report(error, "while reading a body")
            return self.error(400, Refusal.NOT_A_REVIEW, "the body cannot be read; see tokenguard's log")
        return Review(request, snapshot, self._clock(), started, arrived)

    def evaluate(self, review: Review) -> Decision:
        """Return the decision about a review. Any thread may call it."""
        request, snapshot = review.request, review.snapshot
        try:
            if snapshot is not None:
                decision = _evaluate(request, snapshot, review.now)
                return allow_unpatched(decision) if self._allows_unpatched_pods else decision
            independent = policy_independent_decision(request, self._own_namespace, review.now)
        except Exception as error:  # noqa: BLE001 - as above
            self._report(error, f"decision {request.decision_id!r}")
            return _internal_error_decision(request, snapshot)
        if independent is not None:
            return independent
        problem = f"tokenguard is not ready: {readiness_error(self._state)}"
        return Decision(_fallback_outcome(request), problem=problem, status=UNAVAILABLE)

    def respond(self, review: Review, decision: Decision) -> HttpResponse:
        """Have a decision recorded and counted, and return the answer: this decision, or one that replaces it."""
        request, now = review.request, review.now
        failure = _FAILURES.get(decision.status, ReviewFailure.INVALID_OBJECT)
        seconds = time.perf_counter() - review.started
        is_probe = request.dry_run and self._is_probe(request)
        reason = self._state.audit_error
        if reason() if is_probe else not self._audit.record(request, decision, now, seconds):
            fallback = fallback_decision(request, decision, reason())
            if fallback is not None:
                decision, failure = fallback, ReviewFailure.AUDIT_UNAVAILABLE
            if not is_probe:
                self._audit.record_later(request, decision, now, seconds)
        if decision.problem:
            self._metrics.count(FAILURES, request.phase, failure)
        if not is_probe:
            self._metrics.count_review(request, decision, time.perf_counter() - review.arrived)
        if self._create_event and (event := build_owner_event(request, decision)):
            self._create_event(event)
        return HttpResponse(200, encode_response(request, decision))

    def abandon(self, phase: Phase) -> None:
        """Count a review whose client has left before its evaluation: it is neither evaluated nor recorded."""
        self._metrics.count(FAILURES, phase, ReviewFailure.ABANDONED)

    def _is_probe(self, request: AdmissionRequest) -> bool:
        """Return whether a dry run is a replica's self-probe, which is neither recorded nor counted.

        It is answered like any other request, also if the audit log is unavailable.
        """
        return request.namespace == self._probe_namespace and request.user.startswith(
            f"system:serviceaccount:{self._own_namespace}:"
        )

    def check_request(
        self, media_type: str, encoding: str, size: int, *, has_client_certificate: bool
    ) -> HttpResponse | None:
        """Return why a review with these headers is not read, or None if it is; `size` is the Content-Length."""
        if self._requires_client_certificate and not has_client_certificate:
            return self.error(403, Refusal.NO_CLIENT_CERTIFICATE, _NO_CLIENT_CERTIFICATE)
        if encoding not in {"", "identity"}:
            return self.error(415, Refusal.ENCODED, "Content-Encoding is not supported; send the review uncompressed")
        if media_type != "application/json" and media_type.partition(";")[0].strip().lower() != "application/json":
            return self.error(415, Refusal.WRONG_MEDIA_TYPE, "unsupported Content-Type; use application/json")
        return self.too_large() if size > self.max_body_bytes else None

    def too_large(self) -> HttpResponse:
        """Return the answer to a review that is larger than the limit."""
        reason = f"the review exceeds {self.max_body_bytes} bytes (--max-body-bytes)"
        return self.error(413, Refusal.TOO_LARGE, reason)

    def too_many(self) -> HttpResponse:
        """Return the answer to a review for which there is no memory now."""
        return self.error(503, Refusal.TOO_MANY, "too many large reviews at once; try again")

    def error(self, status: int, refusal: Refusal, reason: str) -> HttpResponse:
        """Return the answer to what is no review; `reason` is for the sender, `refusal` for the metrics."""
        self._metrics.count(REFUSALS, str(status), refusal)
        return HttpResponse(status, error_body(status, reason))

    def internal_error(self, error: BaseException) -> HttpResponse:
        """Return the answer to a request on which the HTTP protocol itself failed."""
        self._report(error, "while reading a request")
        return self.error(500, Refusal.OTHER, "internal error in tokenguard; see its log")

    def _report(self, error: BaseException, source: str) -> None:
        """Log where a bug is; the error's own message is left out, because it may quote the object."""
        self._metrics.count(INTERNAL_ERRORS)
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("internal error, %s: %s\n%s", source, type(error).__name__, where)


def _evaluate(request: AdmissionRequest, snapshot: Snapshot, now: dt.datetime) -> Decision:
    previous = snapshot.previous
    if previous is not None and (age := time.monotonic() - snapshot.changed) < DURATION:
        return evaluate_after_change(request, snapshot, previous, age, now)
    return evaluate(request, snapshot.policy, snapshot.cluster, now)


def fallback_decision(request: AdmissionRequest, decision: Decision, reason: str) -> Decision | None:
    """Return the denial of a patch or an exemption that cannot be recorded; None if the decision stays.

    `reason` is shown to the author. Only patches and exemptions in mode enforce are replaced: without the record,
    nobody could know what tokenguard has changed or let pass. All other decisions stay.
    """
    if decision.outcome is Outcome.DENIED or decision.mode is not Mode.ENFORCE or request.subject in WARN_ONLY:
        return None
    patched = decision.outcome is Outcome.PATCHED
    if not (patched or decision.exemptions):
        return None
    problem = f"the {'patch' if patched else 'exemption'} cannot be recorded (--audit-failure=deny): {reason}"
    return Decision(
        Outcome.DENIED, policy=decision.policy, mode=decision.mode, problem=problem, status=UNAVAILABLE,
        help=decision.help,
    )  # fmt: skip


def _fallback_outcome(request: AdmissionRequest) -> Outcome:
    """Return the outcome of a review that could not be evaluated."""
    return Outcome.WARNED if request.subject in WARN_ONLY else Outcome.DENIED


def _internal_error_decision(request: AdmissionRequest, snapshot: Snapshot | None) -> Decision:
    """Return the decision if `evaluate` failed: a denial, unless the namespace's mode never denies."""
    problem = "internal error in tokenguard, the object was not evaluated; see tokenguard's log for this id"
    outcome = _fallback_outcome(request)
    if snapshot is None or request.subject is Subject.POLICY:
        return Decision(outcome, problem=problem, status=INTERNAL_ERROR)
    mode = Mode.ENFORCE
    try:
        labels = snapshot.cluster.namespace_labels(request.namespace)
        mode = snapshot.policy.in_namespace(request.namespace, labels).mode
    except Exception:  # noqa: BLE001 - it may be what failed before
        log.error("cannot determine the mode of a namespace, using enforce")  # noqa: TRY400 - logged already
    outcome = {Mode.ENFORCE: outcome, Mode.WARN: Outcome.WARNED, Mode.AUDIT: Outcome.ALLOWED}[mode]
    policy = snapshot.policy
    return Decision(
        outcome, policy=policy.revision, mode=mode, problem=problem, status=INTERNAL_ERROR, help=policy.help
    )
