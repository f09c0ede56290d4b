"""Counting in memory: bounded labels, tokens, and scrapes from another thread."""

import sys
import threading

import pytest

from tests.recorded_reviews import recorded
from tests.server.replica import Replica
from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.cluster_state import NO_LABELS, ClusterState
from webhook.core.decision import Decision, Finding, MountedToken, Outcome, Violation
from webhook.core.kinds import Subject
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.loader import default_policy
from webhook.core.policy.model import Action
from webhook.core.rules import RULES
from webhook.server.metrics.collector import MetricsCollector
from webhook.server.metrics.definitions import CAPPED, EXEMPTIONS_APPLIED, FINDINGS, INJECTED
from webhook.server.metrics.label_limits import (
    API_SERVER,
    MAX_AUDIENCE_LENGTH,
    MAX_AUDIENCES,
    MAX_AUDIENCES_PER_NAMESPACE,
    MAX_NAMESPACES,
    OTHER,
)
from webhook.server.metrics.recorder import MAX_CACHED, Metrics
from webhook.server.state import State


def state_that_knows(*namespaces: str) -> State:
    state = State()
    state.use_policy(default_policy())
    state.use_cluster(ClusterState(namespaces=dict.fromkeys(namespaces, NO_LABELS)))
    return state


def request(namespace: str = "demo", *, dry_run: bool = False) -> AdmissionRequest:
    return AdmissionRequest(
        Phase.MUTATE, "7ceb3af7", "CREATE", "pods", namespace, "app", Subject.POD, object=None, dry_run=dry_run
    )


def finding(rule: str = "token-subpath", action: Action = Action.WARN, token: MountedToken | None = None) -> Finding:
    return Finding(rule, action, action, Violation("/spec", "is wrong", token=token))


def capped(audience: str, lifetime: int = 86_400) -> Decision:
    token = MountedToken(audience, lifetime)
    return Decision(Outcome.PATCHED, (finding("token-expiration", Action.PATCH, token),))


def counted(metrics: Metrics, definition) -> dict[tuple[str, ...], float]:
    return {labels: cell.value for labels, cell in metrics.values[definition].items()}


@pytest.mark.covers("threat-model: metrics cardinality")
def test_namespace_labels_are_the_namespaces_the_cluster_has() -> None:
    metrics = Metrics(state_that_knows("demo", "shop"))
    for namespace in ("made-up", "demo", "shop", "demo", "other-made-up"):
        metrics.count_review(request(namespace), Decision(Outcome.WARNED, (finding(),)), 0.001)
    assert counted(metrics, FINDINGS) == {
        ("token-subpath", "warn", OTHER): 2, ("token-subpath", "warn", "demo"): 2, ("token-subpath", "warn", "shop"): 1,
    }  # fmt: skip


def test_namespace_that_becomes_known_gets_its_own_label() -> None:
    state = state_that_knows("demo")
    metrics = Metrics(state)
    metrics.count_review(request("shop"), Decision(Outcome.WARNED, (finding(),)), 0.001)
    state.use_cluster(ClusterState(namespaces={"demo": NO_LABELS, "shop": NO_LABELS}))
    metrics.count_review(request("shop"), Decision(Outcome.WARNED, (finding(),)), 0.001)
    assert counted(metrics, FINDINGS) == {("token-subpath", "warn", OTHER): 1, ("token-subpath", "warn", "shop"): 1}


@pytest.mark.parametrize("has_labels", [0, MAX_NAMESPACES + 40], ids=["no namespace known", "all known"])
@pytest.mark.covers("threat-model: metrics cardinality")
def test_namespace_labels_are_at_most_so_many(has_labels) -> None:
    names = [f"ns-{number}" for number in range(MAX_NAMESPACES + 40)]
    metrics = Metrics(state_that_knows(*names[:has_labels]))
    exempted = ((finding("inject"), Exemption(("inject",), "moving", None)),) * 2
    for name in names:
        metrics.count_review(request(name), Decision(Outcome.WARNED, (finding(),), exempted=exempted), 0.001)
    expected = dict.fromkeys(names[:MAX_NAMESPACES], 1) | {OTHER: 40}
    assert counted(metrics, FINDINGS) == {("token-subpath", "warn", name): count for name, count in expected.items()}
    assert counted(metrics, EXEMPTIONS_APPLIED) == {("inject", name): count for name, count in expected.items()}


@pytest.mark.covers("threat-model: metrics cardinality")
def test_audiences_of_one_namespace_leave_room_for_others() -> None:
    metrics = Metrics(state_that_knows("greedy", "demo"))
    for number in range(MAX_AUDIENCES + 20):
        metrics.count_review(request("greedy"), capped(f"made-up-{number}"), 0.001)
    metrics.count_review(request("demo"), capped("vault"), 0.001)
    values = counted(metrics, CAPPED)
    own = {(f"made-up-{number}", "1d"): 1 for number in range(MAX_AUDIENCES_PER_NAMESPACE)}
    others = MAX_AUDIENCES + 20 - MAX_AUDIENCES_PER_NAMESPACE
    assert values == own | {(OTHER, "1d"): others, ("vault", "1d"): 1}


def test_audiences_in_made_up_namespaces_share_one_share() -> None:
    metrics = Metrics(state_that_knows("demo"))
    for number in range(MAX_AUDIENCES + 20):
        metrics.count_review(request(f"made-up-{number}"), capped(f"audience-{number}"), 0.001)
    assert len(metrics.values[CAPPED]) == MAX_AUDIENCES_PER_NAMESPACE + 1
    metrics.count_review(request("demo"), capped("vault"), 0.001)
    assert counted(metrics, CAPPED)["vault", "1d"] == 1


def test_injected_audiences_are_the_policys_and_have_no_share() -> None:
    metrics = Metrics(state_that_knows("demo"))
    for number in range(MAX_AUDIENCES + 20):
        injected = finding("inject", Action.PATCH, MountedToken(f"audience-{number}", 1800))
        metrics.count_review(request(), Decision(Outcome.PATCHED, (injected,)), 0.001)
    assert len(metrics.values[INJECTED]) == MAX_AUDIENCES + 1


def test_tokens_are_counted_by_audience_without_dry_runs() -> None:
    replica = Replica()
    for name in ("pod-plain.pods", "pod-long-expiration.pods", "pod-dry-run.pods"):
        replica.response(recorded(name, "mutate"), Phase.MUTATE)
    assert counted(replica.metrics, INJECTED) == {("https://vault.example.com", "1h"): 2}
    assert counted(replica.metrics, CAPPED)[API_SERVER, "1y"] == 2
    assert {audience for audience, _ in counted(replica.metrics, CAPPED)} == {"sts.amazonaws.com", API_SERVER}


def test_more_lifetimes_and_audiences_than_cached_are_counted() -> None:
    metrics = Metrics(state_that_knows("demo"))
    for number in range(MAX_CACHED * 2 + 10):
        metrics.count_review(request(), capped("vault", 86_400 - number), 0.001)
        metrics.count_review(request(), capped(f"{number}".ljust(MAX_AUDIENCE_LENGTH + 1, "a")), 0.001)
    assert counted(metrics, CAPPED) == {("vault", "1d"): MAX_CACHED * 2 + 10, (OTHER, "1d"): MAX_CACHED * 2 + 10}


def test_duration_on_a_bound_is_in_its_bucket() -> None:
    metrics = Metrics(State())
    for seconds in (0.0001, 0.00011, 7.0):
        metrics.count_review(request(), Decision(Outcome.ALLOWED), seconds)
    lines = MetricsCollector(metrics, State()).exposition().decode().splitlines()
    name = "tokenguard_review_duration_seconds"
    buckets = {line.split()[1] for line in lines if line.startswith(f'{name}_bucket{{le="0.0001",webhook="mutate"')}
    assert buckets == {"1.0"}
    assert f'{name}_bucket{{le="0.00025",webhook="mutate"}} 2.0' in lines
    assert f'{name}_bucket{{le="5.0",webhook="mutate"}} 2.0' in lines
    assert f'{name}_bucket{{le="+Inf",webhook="mutate"}} 3.0' in lines
    assert f'{name}_count{{webhook="mutate"}} 3.0' in lines
    assert f'{name}_sum{{webhook="mutate"}} 7.00021' in lines
    assert f'{name}_count{{webhook="validate"}} 0.0' in lines


@pytest.fixture
def many_switches():
    """Have threads take turns after every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("many_switches")
def test_scrape_in_another_thread_succeeds_while_series_grow() -> None:
    metrics = Metrics(State())
    collector = MetricsCollector(metrics, State())
    errors, done = [], threading.Event()

    def scrape() -> None:
        while not done.is_set():
            try:
                collector.exposition()
            except RuntimeError as error:
                errors.append(str(error))

    thread = threading.Thread(target=scrape)
    thread.start()
    for number in range(MAX_NAMESPACES):
        findings = tuple(finding(rule.name, action) for rule in RULES for action in Action)
        metrics.count_review(request(f"ns-{number}"), Decision(Outcome.WARNED, findings), 0.001)
    done.set()
    thread.join()
    assert errors == []
    assert len(metrics.values[FINDINGS]) == MAX_NAMESPACES * len(RULES) * len(Action)
