"""The definition of every metric: name, kind, labels and help text. docs/metrics.md lists the same."""

from typing import Literal, NamedTuple

from webhook.core.formatting import FastStrEnum


class ReviewFailure(FastStrEnum):
    """Why the answer to a review is not the policy's decision: a label value."""

    NOT_READY = "not_ready"
    INTERNAL_ERROR = "internal_error"
    INVALID_OBJECT = "invalid_object"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    ABANDONED = "abandoned"


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
FAILURES = _counter("review_failures", "Reviews that failed, so that the policy did not decide.", "webhook", "reason")
DURATION = Definition(
    "tokenguard_review_duration_seconds",
    "histogram",
    ("webhook",),
    "Time to answer a review: waiting, parsing, evaluation and writing the audit record.",
)
FINDINGS = _counter("findings", "Findings by the action that was taken.", "rule", "action", "resource_namespace")
EXEMPTIONS_APPLIED = _counter(
    "exemptions_applied", "Reviews in which an exemption matched a violation.", "rule", "resource_namespace"
)
INJECTED = _counter("tokens_injected", "Tokens injected into pods, by lifetime.", "audience", "lifetime")
CAPPED = _counter(
    "tokens_capped", "Tokens in pods whose lifetime was capped, by their former lifetime.", "audience", "lifetime"
)
REFUSALS = _counter("requests_refused", "Requests refused before evaluation.", "status", "reason")
POLICY_RELOADS = _counter("policy_reloads", "Loads and reloads of the policy.", "result")
RELOADS = _counter("reloads", "Loads and reloads of the policy, the objects file and certificates.", "source", "result")
RELOAD_RESULT = _gauge("last_reload_successful", "1 if the last reload succeeded, otherwise 0.", "source")
RELOAD_TIME = _gauge("last_reload_success_timestamp_seconds", "Unix time of the last successful reload.", "source")
AUDIT_FAILURES = _counter("audit_failures", "Audit records that could not be written.")
AUDIT_SAMPLED_OUT = _counter("audit_sampled_out", "Audit records left out by --audit-sample.")
PROBES = _counter("probes", "Pods of the self-probe, by result.", "probe", "result")
PROBE_TIME = _gauge(
    "probe_last_success_timestamp_seconds",
    "Unix time of the last self-probe that was answered as the policy demands.",
    "probe",
)
INTERNAL_ERRORS = _counter("internal_errors", "Reviews whose evaluation failed because of a bug in tokenguard.")
READY = _gauge("ready", "1 if the replica is ready, otherwise 0.")
POLICY = _gauge(
    "policy_info", "The policy in force: its revision (hash) and its mode outside of overrides.", "revision", "mode"
)
EXEMPTIONS = _gauge("exemptions", "Exemptions in the policy, by days until they expire.", "days_left")
EXEMPTION_EXPIRY = _gauge(
    "exemption_expiry_timestamp_seconds", "Unix time at which an exemption expires.", "exemption", "rules", "reason"
)
LEGACY_SECRETS = _gauge("legacy_secrets", "Secrets with a token that never expires.")
DISABLED_SECRETS = _gauge("legacy_secrets_disabled", "Legacy Secrets whose token the API server refuses.")
OBJECTS = _gauge("state_objects", "Watched objects: Secrets of the legacy type, and Namespaces.", "resource")
STATE_AGE = _gauge("state_age_seconds", "Time since the policy, Secrets or Namespaces were last synced.", "source")
CERTIFICATE_EXPIRY = _gauge(
    "certificate_expiry_timestamp_seconds", "Unix time at which the serving certificate expires."
)
BACKSTOP = _gauge(
    "backstop_in_sync", "1 if the exported policies in the cluster are those of the policy in force, otherwise 0."
)
SCAN_TIME = _gauge(
    "scan_timestamp_seconds", "Unix time of the last complete background scan; 0 if there has been none."
)
SCAN_MAX_AGE = _gauge("scan_max_age_seconds", "Age at which the last background scan is too old.")
SCAN_RESULTS = _gauge("scan_results", "Results in the policy reports of the last background scan.", "result")
SCAN_LEFT_OUT = _gauge("scan_results_left_out", "Results that do not fit into the policy reports.")
SCAN_PODS = _gauge(
    "scan_pods", "Running pods at the last background scan, by their outcome if recreated now.", "outcome"
)
SCAN_UNEVALUATED = _gauge(
    "scan_unevaluated_pods",
    "Running pods that the policy would not admit as they are, at the last background scan, by how they were admitted.",
    "admission",
)

RECORDED = (
    FAILURES, FINDINGS, EXEMPTIONS_APPLIED, INJECTED, CAPPED, REFUSALS, POLICY_RELOADS, RELOADS, RELOAD_RESULT,
    RELOAD_TIME, AUDIT_FAILURES, AUDIT_SAMPLED_OUT, INTERNAL_ERRORS, PROBES, PROBE_TIME,
)  # fmt: skip
"""Those whose values the recorder keeps, besides `REVIEWS` and `DURATION`; the rest is read from the state."""
DEFINITIONS = (
    REVIEWS, DURATION, *RECORDED, READY, POLICY, EXEMPTIONS, EXEMPTION_EXPIRY, LEGACY_SECRETS, DISABLED_SECRETS,
    OBJECTS, STATE_AGE, CERTIFICATE_EXPIRY, BACKSTOP, SCAN_TIME, SCAN_MAX_AGE, SCAN_RESULTS, SCAN_LEFT_OUT, SCAN_PODS,
    SCAN_UNEVALUATED,
)  # fmt: skip
