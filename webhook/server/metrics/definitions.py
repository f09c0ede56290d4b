"""The definition of every metric: name, kind, labels and help text. docs/metrics.md lists the same."""

from typing import Literal, NamedTuple

from webhook.core.text import Word


class ReviewFailure(Word):
    """Why the answer to a review is not the policy's decision: a label value."""

    NOT_READY = "not-ready"
    INTERNAL_ERROR = "internal-error"
    UNREADABLE = "unreadable"
    AUDIT_UNAVAILABLE = "untold"


class Definition(NamedTuple):
    """A metric as its users see it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


def _counter(name: str, text: str, *labels: str) -> Definition:
    return Definition(f"tokenguard_{name}_total", "counter", labels, text)


def _gauge(name: str, text: str, *labels: str) -> Definition:
    return Definition(f"tokenguard_{name}", "gauge", labels, text)


REVIEWS = _counter("reviews", "Reviews answered.", "webhook", "resource", "operation", "decision")
FAILURES = _counter("reviews_unjudged", "Reviews answered without a judgement, or not by it.", "webhook", "reason")
DURATION = Definition(
    "tokenguard_review_duration_seconds",
    "histogram",
    ("webhook",),
    "Time to answer a review: to read it, to decide, and to write the audit log.",
)
FINDINGS = _counter("findings", "Findings, and what was done about them.", "rule", "action", "resource_namespace")
EXEMPTED = _counter("exempted", "Reviews in which an exemption kept a rule from acting.", "rule", "resource_namespace")
INJECTED = _counter("tokens_injected", "Tokens put into pods, by how long they live.", "audience", "lifetime")
CAPPED = _counter(
    "tokens_capped", "Tokens in pods whose life was cut short, by how long it would have been.", "audience", "lifetime"
)
REFUSALS = _counter("requests_refused", "Requests refused before anything was judged.", "status", "reason")
POLICY_RELOADS = _counter("policy_reloads", "Policies read, at the start and after.", "result")
RELOADS = _counter("reloads", "Policies, objects and certificates read, at the start and after.", "what", "result")
RELOAD_RESULT = _gauge("last_reload_successful", "1 where what was read last was taken, 0 where it was not.", "what")
RELOAD_TIME = _gauge("last_reload_success_timestamp_seconds", "When one was last taken, in Unix time.", "what")
AUDIT_FAILURES = _counter("audit_failures", "Lines that could not be written to the audit log when they were due.")
AUDIT_SAMPLED_OUT = _counter("audit_sampled_out", "Decisions that --audit-sample left out of the audit log.")
INTERNAL_ERRORS = _counter("internal_errors", "Reviews that met an error of tokenguard's own.")
READY = _gauge("ready", "1 where policy, objects and certificate are there, and the audit log is written.")
POLICY = _gauge("policy_info", "The policy in force: its hash, and its mode outside of overrides.", "revision", "mode")
EXEMPTIONS = _gauge("exemptions", "The policy's exemptions, by the days until they end.", "days_left")
EXEMPTION_END = _gauge(
    "exemption_end_timestamp_seconds", "When an exemption ends or has ended, in Unix time.", "exemption", "rules", "why"
)
LEGACY_SECRETS = _gauge("legacy_secrets", "Known Secrets that hold a token without end.")
OBJECTS = _gauge("state_objects", "Objects known: Secrets of the legacy type, and Namespaces.", "what")
STATE_AGE = _gauge(
    "state_age_seconds", "Time since this part of the state was last known to be what the API server has.", "what"
)
CERTIFICATE_EXPIRY = _gauge(
    "certificate_expiry_timestamp_seconds", "When the certificate that is served ends, in Unix time."
)

RECORDED = (
    FAILURES, FINDINGS, EXEMPTED, INJECTED, CAPPED, REFUSALS, POLICY_RELOADS, RELOADS, RELOAD_RESULT,
    RELOAD_TIME, AUDIT_FAILURES, AUDIT_SAMPLED_OUT, INTERNAL_ERRORS,
)  # fmt: skip
"""Those whose values the recorder keeps, besides `REVIEWS` and `DURATION`; the rest is read from the state."""
DEFINITIONS = (
    REVIEWS, DURATION, *RECORDED, READY, POLICY, EXEMPTIONS, EXEMPTION_END, LEGACY_SECRETS, OBJECTS, STATE_AGE,
    CERTIFICATE_EXPIRY,
)  # fmt: skip
