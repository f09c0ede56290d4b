"""Counts reviews, refused requests and reloads in memory, as plain numbers by label values."""

import time
from bisect import bisect_left
from collections.abc import Sequence
from itertools import product
from threading import Lock

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.decision import Decision, MountedToken
from webhook.core.k8s_names import DNS_LABEL, OPERATIONS
from webhook.core.policy.model import Action
from webhook.server.http_errors import OF_REVIEWS
from webhook.server.metrics import definitions, label_limits
from webhook.server.metrics.definitions import RECORDED, Definition, ReviewFailure
from webhook.server.metrics.label_limits import API_SERVER, AUDIENCE, LabelValues, lifetime_label
from webhook.server.state import State
from webhook.status.probe import ProbePod, ProbeResult

RESOURCES = frozenset({
    "pods", "pods/ephemeralcontainers", "secrets", "serviceaccounts", "serviceaccounts/token", "deployments",
    "statefulsets", "daemonsets", "replicasets", "replicationcontrollers", "jobs", "cronjobs", "configmaps",
})  # fmt: skip
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds of the histogram of review durations, in seconds."""
WEBHOOKS = (Phase.MUTATE, Phase.VALIDATE)
_RESULTS = ("accepted", "rejected")
_AT_ZERO: dict[Definition, Sequence[tuple[str, ...]]] = {
    definitions.POLICY_RELOADS: [*product(_RESULTS)],
    definitions.RELOADS: [*product(("policy", "objects", "certificate"), _RESULTS)],
    definitions.FAILURES: [*product(WEBHOOKS, ReviewFailure)],
    definitions.REFUSALS: [(str(status), refusal) for status, refusal in OF_REVIEWS],
    definitions.PROBES: [*product(ProbePod, ProbeResult)],
    definitions.AUDIT_FAILURES: [()],
    definitions.AUDIT_SAMPLED_OUT: [()],
    definitions.INTERNAL_ERRORS: [()],
}
"""Exposed before they happen, for alerts: an increase from a missing series to 1 is none to Prometheus."""

MAX_CACHED = 1000
"""Kinds of findings whose counters are found with one look-up; lifetimes and audiences are chosen by authors."""


class MetricValue:
    """A value of a metric."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


MetricValues = dict[tuple[str, ...], MetricValue]
"""A metric's values by its label values, in the order of its definition."""


class Metrics:
    """The counters of this process. Other threads may read them at any time: they copy a table before they iterate.

    `count_review` has one caller at a time, the event loop, and takes no lock. Any thread may call the other methods.
    """

    def __init__(self, state: State) -> None:
        """Namespace labels are the namespaces that `state` knows, if it knows any."""
        self._state = state
        self.reviews: dict[tuple[str, ...], list[float]] = {}
        """By the labels of `REVIEWS`: the reviews in each bucket, those above all buckets, the sum of their seconds."""
        self.values: dict[Definition, MetricValues] = {
            definition: {labels: MetricValue() for labels in _AT_ZERO.get(definition, ())} for definition in RECORDED
        }
        self._lock = Lock()
        self._findings: dict[tuple[str, Action, str, MountedToken | None], tuple[MetricValue, MetricValue | None]] = {}
        self._namespaces = LabelValues(label_limits.MAX_NAMESPACES, self._is_known_namespace)
        # Two tables: audiences in pods leave the room of those that the policy injects.
        limit, share = label_limits.MAX_AUDIENCES, label_limits.MAX_AUDIENCES_PER_NAMESPACE
        self._tokens = {
            "inject": (definitions.INJECTED, LabelValues(limit, AUDIENCE.fullmatch)),
            "token-expiration": (definitions.CAPPED, LabelValues(limit, AUDIENCE.fullmatch, share)),
        }

    def count_review(self, request: AdmissionRequest, decision: Decision, seconds: float) -> None:
        """Count an answered review, its findings and its exemptions."""
        phase, resource, operation, outcome = request.phase, request.resource, request.operation, decision.outcome
        try:
            review = self.reviews[phase, resource, operation, outcome]
        except KeyError:
            resource = resource if resource in RESOURCES else "other"
            operation = operation if operation in OPERATIONS else "other"
            review = self.reviews.setdefault((phase, resource, operation, outcome), [0.0] * (len(BUCKETS) + 2))
        review[bisect_left(BUCKETS, seconds)] += 1
        review[-1] += seconds
        for finding in decision.findings:
            token = None if request.dry_run else finding.violation.token
            kind = (finding.rule, finding.action, request.namespace, token)
            try:
                findings, tokens = self._findings[kind]
            except KeyError:
                findings, tokens = self._finding_values(*kind)
            findings.value += 1
            if tokens is not None:
                tokens.value += 1
        if decision.exempted:
            namespace = self._namespaces.label(request.namespace)
            for rule in {finding.rule for finding, _ in decision.exempted}:
                self._value(definitions.EXEMPTIONS_APPLIED, rule, namespace).value += 1

    def count(self, definition: Definition, *labels: str) -> None:
        """Add one to any other counter."""
        with self._lock:
            self._value(definition, *labels).value += 1

    def count_reload(self, source: str, accepted: bool) -> None:  # noqa: FBT001 - called by position, as a callback
        """Count a policy, objects or a certificate that was read."""
        result = "accepted" if accepted else "rejected"
        self.count(definitions.RELOADS, source, result)
        if source == "policy":
            self.count(definitions.POLICY_RELOADS, result)
        self._value(definitions.RELOAD_RESULT, source).value = float(accepted)
        if accepted:
            self._value(definitions.RELOAD_TIME, source).value = time.time()

    def count_probe(self, pod: str, result: str) -> None:
        """Count the answer to a pod of the self-probe."""
        self.count(definitions.PROBES, pod, result)
        if result == ProbeResult.SUCCESS:
            self._value(definitions.PROBE_TIME, pod).value = time.time()

    def _value(self, definition: Definition, *labels: str) -> MetricValue:
        return self.values[definition].setdefault(labels, MetricValue())

    def _finding_values(
        self, rule: str, action: Action, namespace: str, token: MountedToken | None
    ) -> tuple[MetricValue, MetricValue | None]:
        """Return what such a finding increments: the findings, and the tokens if it patches one."""
        namespace = self._namespaces.label(namespace)
        kind = (rule, action, namespace, token)
        if kind in self._findings:
            return self._findings[kind]
        tokens = None
        if token is not None and action is Action.PATCH and rule in self._tokens:
            definition, audiences = self._tokens[rule]
            audience = audiences.label(token.audience, namespace) if token.audience else API_SERVER
            tokens = self._value(definition, audience, lifetime_label(token.lifetime))
        values = self._value(definitions.FINDINGS, rule, action, namespace), tokens
        if token is None or len(token.audience) <= label_limits.MAX_AUDIENCE_LENGTH:
            if len(self._findings) >= MAX_CACHED:
                self._findings.clear()
            self._findings[kind] = values
        return values

    def _is_known_namespace(self, name: str) -> bool:
        snapshot = self._state.snapshot
        known = snapshot.cluster.namespaces if snapshot else ()
        return name in known if known else bool(DNS_LABEL.fullmatch(name))
