"""Counts reviews, refused requests and reloads in memory, as plain numbers by label values."""

import time
from bisect import bisect_left
from itertools import product
from threading import Lock

from webhook.core.decision import Decision, MountedToken
from webhook.core.k8s_names import DNS_LABEL, OPERATIONS
from webhook.core.policy.model import Action
from webhook.core.request import Phase, Request
from webhook.server.http_errors import OF_REVIEWS, Refusal
from webhook.server.metrics import definitions
from webhook.server.metrics.definitions import RECORDED, Definition, ReviewFailure
from webhook.server.metrics.label_limits import (
    API_SERVER,
    AUDIENCE,
    MAX_AUDIENCE_LENGTH,
    MAX_AUDIENCES,
    MAX_AUDIENCES_PER_NAMESPACE,
    MAX_NAMESPACES,
    LabelValues,
    lifetime_label,
)
from webhook.server.state import State

RESOURCES = frozenset({
    "pods", "pods/ephemeralcontainers", "secrets", "serviceaccounts", "serviceaccounts/token", "deployments",
    "statefulsets", "daemonsets", "replicasets", "replicationcontrollers", "jobs", "cronjobs", "configmaps",
})  # fmt: skip
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds of the histogram of review durations, in seconds."""
WEBHOOKS = (Phase.MUTATE, Phase.VALIDATE)
_SECONDS = len(BUCKETS) + 1

MAX_CACHED = 1000
"""Kinds of findings whose counters are found with one look-up; lifetimes and audiences are chosen by authors."""


class Cell:
    """A value of a metric."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


Cells = dict[tuple[str, ...], Cell]
"""A metric's values by its label values, in the order of its definition."""


class Metrics:
    """The counters of this process. Other threads may read them at any time: they copy a table before they iterate.

    `count_review` has one caller at a time, the event loop, and takes no lock. Any thread may call the other methods.
    """

    def __init__(self, state: State) -> None:
        """Start at zero. Namespace labels are the namespaces that `state` knows, if it knows any."""
        self._state = state
        self.reviews: dict[tuple[str, ...], list[float]] = {}
        """By the labels of `REVIEWS` the number of reviews in each bucket, of those above all, and their seconds."""
        self.values: dict[Definition, Cells] = {definition: {} for definition in RECORDED}
        self._lock = Lock()
        self._findings: dict[tuple[str, Action, str, MountedToken | None], tuple[Cell, Cell | None]] = {}
        self._namespaces = LabelValues(MAX_NAMESPACES, self._is_known_namespace)
        # Two tables: audiences in pods leave the room of those that the policy injects.
        self._tokens = {
            "inject": (definitions.INJECTED, LabelValues(MAX_AUDIENCES, AUDIENCE.fullmatch)),
            "token-expiration": (
                definitions.CAPPED,
                LabelValues(MAX_AUDIENCES, AUDIENCE.fullmatch, share=MAX_AUDIENCES_PER_NAMESPACE),
            ),
        }
        self._start_at_zero()

    def count_review(self, request: Request, decision: Decision, seconds: float) -> None:
        """Count an answered review, its findings and its exemptions."""
        key = (request.phase, request.resource, request.operation, decision.outcome)
        try:
            review = self.reviews[key]
        except KeyError:
            review = self.reviews.setdefault(_bounded(*key), [0] * (len(BUCKETS) + 1) + [0.0])
        review[bisect_left(BUCKETS, seconds)] += 1
        review[_SECONDS] += seconds
        for finding in decision.findings:
            token = None if request.dry_run else finding.violation.token
            kind = (finding.rule, finding.action, request.namespace, token)
            try:
                findings, tokens = self._findings[kind]
            except KeyError:
                findings, tokens = self._finding_cells(*kind)
            findings.value += 1
            if tokens is not None:
                tokens.value += 1
        if decision.exempted:
            self._count_exemptions(request, decision)

    def count_failure(self, phase: Phase, reason: ReviewFailure) -> None:
        """Count a review whose answer is not the policy's decision; `count_review` counts it, too."""
        self._add(definitions.FAILURES, phase, reason)

    def count_refusal(self, status: int, reason: Refusal) -> None:
        """Count a request that was refused before it was evaluated."""
        self._add(definitions.REFUSALS, str(status), reason)

    def count_reload(self, source: str, accepted: bool) -> None:  # noqa: FBT001 - called by position, as a callback
        """Count a policy, objects or a certificate that was read."""
        result = "accepted" if accepted else "rejected"
        self._add(definitions.RELOADS, source, result)
        if source == "policy":
            self._add(definitions.POLICY_RELOADS, result)
        self._cell(definitions.RELOAD_RESULT, source).value = float(accepted)
        if accepted:
            self._cell(definitions.RELOAD_TIME, source).value = time.time()

    def count_audit_failure(self) -> None:
        """Count a line that the audit log did not take."""
        self._add(definitions.AUDIT_FAILURES)

    def count_sampled_out(self) -> None:
        """Count a decision that is not in the audit log because of `--audit-sample`."""
        self._add(definitions.AUDIT_SAMPLED_OUT)

    def count_internal_error(self) -> None:
        """Count a review that raised an unexpected exception."""
        self._add(definitions.INTERNAL_ERRORS)

    def _add(self, definition: Definition, *labels: str) -> None:
        with self._lock:
            self._cell(definition, *labels).value += 1

    def _cell(self, definition: Definition, *labels: str) -> Cell:
        return self.values[definition].setdefault(labels, Cell())

    def _count_exemptions(self, request: Request, decision: Decision) -> None:
        namespace = self._namespaces.label(request.namespace)
        for rule in {finding.rule for finding, _ in decision.exempted}:
            self._cell(definitions.EXEMPTED, rule, namespace).value += 1

    def _finding_cells(
        self, rule: str, action: Action, namespace: str, token: MountedToken | None
    ) -> tuple[Cell, Cell | None]:
        """Return what such a finding increments: the findings, and the tokens if it patches one."""
        namespace = self._namespaces.label(namespace)
        kind = (rule, action, namespace, token)
        if kind in self._findings:
            return self._findings[kind]
        tokens = None
        if token is not None and action is Action.PATCH:
            definition, audiences = self._tokens[rule]
            audience = audiences.label(token.audience, namespace) if token.audience else API_SERVER
            tokens = self._cell(definition, audience, lifetime_label(token.lifetime))
        cells = self._cell(definitions.FINDINGS, rule, action, namespace), tokens
        if token is None or len(token.audience) <= MAX_AUDIENCE_LENGTH:
            if len(self._findings) >= MAX_CACHED:
                self._findings.clear()
            self._findings[kind] = cells
        return cells

    def _is_known_namespace(self, name: str) -> bool:
        snapshot = self._state.snapshot
        known = snapshot.cluster.namespaces if snapshot else ()
        return name in known if known else bool(DNS_LABEL.fullmatch(name))

    def _start_at_zero(self) -> None:
        """Expose what alerts need before it happens: an increase from a missing series to 1 is none to Prometheus."""
        results = ("accepted", "rejected")
        for definition, keys in (
            (definitions.POLICY_RELOADS, [(result,) for result in results]),
            (definitions.RELOADS, product(("policy", "objects", "certificate"), results)),
            (definitions.FAILURES, product(WEBHOOKS, ReviewFailure)),
            (definitions.REFUSALS, [(str(status), refusal) for status, refusal in OF_REVIEWS]),
            (definitions.AUDIT_FAILURES, [()]),
            (definitions.AUDIT_SAMPLED_OUT, [()]),
            (definitions.INTERNAL_ERRORS, [()]),
        ):
            for labels in keys:
                self._cell(definition, *labels)


def _bounded(phase: str, resource: str, operation: str, outcome: str) -> tuple[str, str, str, str]:
    """Return the labels of a review whose resource and operation may be anything."""
    return (
        phase,
        resource if resource in RESOURCES else "other",
        operation if operation in OPERATIONS else "other",
        outcome,
    )
