"""Prometheus metrics that add up over all workers.

Import this module only after PROMETHEUS_MULTIPROC_DIR has been set: the client library looks once, when it is
imported. Without that variable it counts in this process alone. What stands in labels comes from short, known
lists, or is bounded (`webhook.server.labels`): nobody can fill the memory of a monitoring system with requests.
"""

import os
import time
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

from webhook.core.decision import Decision, MountedToken
from webhook.core.k8s_names import DNS_LABEL, OPERATIONS
from webhook.core.policy.model import Action
from webhook.core.request import Phase, Request
from webhook.core.text import Word
from webhook.server import catalogue
from webhook.server.catalogue import About
from webhook.server.http_errors import OF_REVIEWS, Refusal
from webhook.server.in_force import InForce
from webhook.server.labels import API_SERVER, AUDIENCE, FirstValues, lifetime
from webhook.server.standing import Standings, Teller
from webhook.server.state import State

RESOURCES = frozenset({
    "pods", "pods/ephemeralcontainers", "secrets", "serviceaccounts", "serviceaccounts/token", "deployments",
    "statefulsets", "daemonsets", "replicasets", "replicationcontrollers", "jobs", "cronjobs", "configmaps",
})  # fmt: skip
MOST_NAMESPACES = 100
MOST_AUDIENCES = 50
disable_created_metrics()  # type: ignore[no-untyped-call]  # there are none with several processes, so have none with one
_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
_PHASES = (Phase.MUTATE, Phase.VALIDATE)


class Unjudged(Word):
    """Why a review was answered without a judgement, or not by it."""

    NOT_READY = "not-ready"
    INTERNAL_ERROR = "internal-error"
    UNREADABLE = "unreadable"
    UNTOLD = "untold"


class Metrics:
    """What is counted. The children of every label are kept, because looking them up costs more than counting."""

    def __init__(self) -> None:
        """Make all metrics, in a registry of their own."""
        folder = _folder()
        self._counts_as = "first"
        if folder:
            values.ValueClass = values.MultiProcessValue(lambda: self._counts_as)  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._standings = Standings(folder)
        self._reviews = self._counter(catalogue.REVIEWS)
        self._unjudged = self._counter(catalogue.UNJUDGED)
        self._findings = self._counter(catalogue.FINDINGS)
        self._exempted = self._counter(catalogue.EXEMPTED)
        self._refused = self._counter(catalogue.REFUSED)
        self._policy_reloads = self._counter(catalogue.POLICY_RELOADS)
        self._reloads = self._counter(catalogue.RELOADS)
        self._successful = self._gauge(catalogue.SUCCESSFUL)
        self._success = self._gauge(catalogue.SUCCESS)
        self.audit_failures = self._counter(catalogue.AUDIT_FAILURES)
        self.audit_sampled_out = self._counter(catalogue.AUDIT_SAMPLED_OUT)
        self.internal_errors = self._counter(catalogue.INTERNAL_ERRORS)
        about = catalogue.DURATION
        duration = Histogram(about.name, about.text, about.labels, registry=self._registry, buckets=_BUCKETS)
        self._duration = {phase: duration.labels(phase.value) for phase in _PHASES}
        self._review_children: dict[tuple[str, str, str, str], Counter] = {}
        self._finding_children: dict[tuple[str, str, str], Counter] = {}
        self._token_children: dict[tuple[str, str, str], Counter] = {}
        self._namespaces = FirstValues(folder and folder / "namespaces", MOST_NAMESPACES, DNS_LABEL)
        # A table for each: what authors write in their pods takes no room from what the policy injects.
        self._tokens = {
            rule: (self._counter(about), FirstValues(folder and folder / rule, MOST_AUDIENCES, AUDIENCE))
            for rule, about in (("inject", catalogue.INJECTED), ("token-expiration", catalogue.CAPPED))
        }
        self._begin_at_zero()

    def reviewed(self, request: Request, decision: Decision, seconds: float) -> None:
        """Count one review."""
        key = (request.phase, request.resource, request.operation, decision.outcome)
        child = self._review_children.get(key) or self._review_child(*key)
        child.inc()
        if decision.findings or decision.exemptions:
            self._found(request, decision)
        self._duration[request.phase].observe(seconds)

    def unjudged(self, phase: Phase, reason: Unjudged) -> None:
        """Count a review that was answered without a judgement, besides."""
        self._unjudged.labels(phase, reason).inc()

    def refused(self, status: int, refusal: Refusal) -> None:
        """Count a request that was refused before anything was judged."""
        self._refused.labels(str(status), refusal).inc()

    def file_read(self, what: str, accepted: bool) -> None:  # noqa: FBT001 - called by position, as a callback
        """Count a policy, objects or a certificate that was read."""
        result = "accepted" if accepted else "rejected"
        self._reloads.labels(what, result).inc()
        if what == "policy":
            self._policy_reloads.labels(result).inc()
        self._successful.labels(what).set(float(accepted))
        if accepted:
            self._success.labels(what).set(time.time())

    def teller(self, state: State) -> Teller:
        """Return what tells the other workers what this one judges by."""
        return Teller(self._standings, state)

    def count_as(self, place: str) -> None:
        """Count, from here on, in the files of this place, on top of what they hold: called in a worker that begins.

        No two processes may have one place at the same time. A worker has that of one that is gone: so workers that die
        leave no more files than there are places, and what they counted stays counted.
        """
        self._counts_as = place

    def worker_died(self, pid: int) -> None:
        """Forget what a worker that is gone has told the others; what it counted stays counted."""
        self._standings.forget(pid)

    def exposition(self, state: State) -> bytes:
        """Return all metrics as text, summed over the workers."""
        registry = InForce(state, self._standings).registry()
        if _folder() is None:
            return generate_latest(self._registry) + generate_latest(registry)
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _found(self, request: Request, decision: Decision) -> None:
        namespace = self._namespaces.value(request.namespace)
        for finding in decision.findings:
            key = (finding.rule, finding.action, namespace)
            counter = self._finding_children.get(key)
            if counter is None:
                counter = self._finding_children[key] = self._findings.labels(*key)
            counter.inc()
            token = finding.violation.token
            if token is not None and finding.action is Action.PATCH and not request.dry_run:
                self._token_changed(finding.rule, token)
        for rule in {rule for rule, _ in decision.exemptions}:
            self._exempted.labels(rule, namespace).inc()

    def _token_changed(self, rule: str, token: MountedToken) -> None:
        """Count a token that was injected or capped."""
        counter, audiences = self._tokens[rule]
        audience = audiences.value(token.audience) if token.audience else API_SERVER
        key = (rule, audience, lifetime(token.lifetime))
        child = self._token_children.get(key)
        if child is None:
            child = self._token_children[key] = counter.labels(*key[1:])
        child.inc()

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

    def _begin_at_zero(self) -> None:
        """Show what alerts are about before it happens: from nothing to 1 is no increase to a monitoring system."""
        for result in ("accepted", "rejected"):
            self._policy_reloads.labels(result)
            for what in ("policy", "objects", "certificate"):
                self._reloads.labels(what, result)
        for phase in _PHASES:
            for reason in Unjudged:
                self._unjudged.labels(phase, reason)
        for status, refusal in OF_REVIEWS:
            self._refused.labels(str(status), refusal)

    def _counter(self, about: About) -> Counter:
        return Counter(about.name, about.text, about.labels, registry=self._registry)

    def _gauge(self, about: About) -> Gauge:
        """Make a gauge that is as whichever worker has set it last."""
        return Gauge(about.name, about.text, about.labels, registry=self._registry, multiprocess_mode="mostrecent")


def _folder() -> Path | None:
    """Return the folder that the workers have in common; None where there is but this process."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None
