"""Prometheus metrics that add up over all workers.

Import this module only after PROMETHEUS_MULTIPROC_DIR has been set: the client library looks once, when it is
imported. Without that variable it counts in this process alone. What stands in labels comes from short, known
lists: nobody can fill the memory of a monitoring system with requests.
"""

import os
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from webhook.core.decision import Decision
from webhook.core.request import Phase, Request
from webhook.server.state import State

OPERATIONS = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})
RESOURCES = frozenset({
    "pods", "pods/ephemeralcontainers", "secrets", "serviceaccounts", "serviceaccounts/token", "deployments",
    "statefulsets", "daemonsets", "replicasets", "replicationcontrollers", "jobs", "cronjobs", "configmaps",
})  # fmt: skip
disable_created_metrics()  # type: ignore[no-untyped-call]  # there are none with several processes, so have none with one
_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)


class Metrics:
    """What is counted. The children of every label are kept, because looking them up costs more than counting."""

    def __init__(self) -> None:
        """Make all metrics, in a registry of their own."""
        self._registry = registry = CollectorRegistry()
        self._reviews = Counter(
            "tokenguard_reviews_total", "Reviews answered.",
            ["webhook", "resource", "operation", "decision"], registry=registry,
        )  # fmt: skip
        self._findings = Counter(
            "tokenguard_findings_total",
            "Findings, and what was done about them.",
            ["rule", "action"],
            registry=registry,
        )
        duration = Histogram(
            "tokenguard_review_duration_seconds", "Time to read a review and decide.",
            ["webhook"], buckets=_BUCKETS, registry=registry,
        )  # fmt: skip
        self._refused = Counter(
            "tokenguard_requests_refused_total", "Requests that were no review, by HTTP status.",
            ["status"], registry=registry,
        )  # fmt: skip
        self._policy_reloads = Counter(
            "tokenguard_policy_reloads_total", "Policies read, at the start and after.", ["result"], registry=registry
        )
        self._reloads = Counter(
            "tokenguard_reloads_total", "Files read, at the start and after: policy, objects and certificate.",
            ["what", "result"], registry=registry,
        )  # fmt: skip
        self.audit_failures = Counter(
            "tokenguard_audit_failures_total", "Lines that the audit log lacks.", registry=registry
        )
        self.audit_sampled_out = Counter(
            "tokenguard_audit_sampled_out_total", "Decisions that --audit-sample left out of the audit log.",
            registry=registry,
        )  # fmt: skip
        self.internal_errors = Counter(
            "tokenguard_internal_errors_total", "Reviews that met an error of tokenguard's own.", registry=registry
        )
        self._duration = {phase: duration.labels(phase.value) for phase in (Phase.MUTATE, Phase.VALIDATE)}
        self._review_children: dict[tuple[str, str, str, str], Counter] = {}
        self._finding_children: dict[tuple[str, str], Counter] = {}
        for result in ("accepted", "rejected"):
            self._policy_reloads.labels(result)
            for what in ("policy", "objects", "certificate"):
                self._reloads.labels(what, result)

    def reviewed(self, request: Request, decision: Decision, seconds: float) -> None:
        """Count one review."""
        key = (request.phase, request.resource, request.operation, decision.outcome)
        child = self._review_children.get(key) or self._review_child(*key)
        child.inc()
        for finding in decision.findings:
            pair = (finding.rule, finding.action)
            counter = self._finding_children.get(pair)
            if counter is None:
                counter = self._finding_children[pair] = self._findings.labels(*pair)
            counter.inc()
        self._duration[request.phase].observe(seconds)

    def refused(self, status: int) -> None:
        """Count a request that was not a review."""
        self._refused.labels(str(status)).inc()

    def file_read(self, what: str, accepted: bool) -> None:  # noqa: FBT001 - called by position, as a callback
        """Count a policy, objects or a certificate that was read."""
        result = "accepted" if accepted else "rejected"
        self._reloads.labels(what, result).inc()
        if what == "policy":
            self._policy_reloads.labels(result).inc()

    def exposition(self, state: State) -> bytes:
        """Return all metrics as text, summed over the workers."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry) + generate_latest(_StateCollector.registered(state))
        registry = _StateCollector.registered(state)
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _review_child(self, phase: str, resource: str, operation: str, outcome: str) -> Counter:
        known = resource in RESOURCES and operation in OPERATIONS
        child = self._reviews.labels(
            phase,
            resource if resource in RESOURCES else "other",
            operation if operation in OPERATIONS else "other",
            outcome,
        )
        if known:
            self._review_children[phase, resource, operation, outcome] = child
        return child


class _StateCollector(Collector):
    """What is in force in the worker that answers; the others follow within a second."""

    def __init__(self, state: State) -> None:
        self._state = state

    @classmethod
    def registered(cls, state: State) -> CollectorRegistry:
        registry = CollectorRegistry()
        registry.register(cls(state))
        return registry

    def collect(self) -> Iterator[GaugeMetricFamily]:
        snapshot = self._state.snapshot
        yield GaugeMetricFamily(
            "tokenguard_ready",
            "1 where policy, objects and certificate are there.",
            float(not self._state.why_not_ready),
        )
        info = GaugeMetricFamily("tokenguard_policy_info", "The policy in force, by its hash.", labels=["revision"])
        legacy = GaugeMetricFamily("tokenguard_legacy_secrets", "Known Secrets that hold a token without end.")
        if snapshot is not None:
            info.add_metric([snapshot.policy.revision], 1.0)
            legacy.add_metric([], float(sum(map(len, snapshot.cluster.legacy_tokens.values()))))
        yield info
        yield legacy
        age = GaugeMetricFamily(
            "tokenguard_state_age_seconds",
            "Time since this part of the state was last known to be what the API server has.",
            labels=["what"],
        )
        for what, heard in list(self._state.heard.items()):
            age.add_metric([what], time.monotonic() - heard)
        yield age
        expiry = GaugeMetricFamily(
            "tokenguard_certificate_expiry_timestamp_seconds", "When the certificate that is served ends, in Unix time."
        )
        if self._state.certificate and not self._state.waits_for_certificate:
            expiry.add_metric([], self._state.certificate.ends.timestamp())
        yield expiry


def worker_died(pid: int) -> None:
    """Forget the live values of a worker that is gone; what it counted stays counted."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]
