"""What outlives a review is bounded in bytes, as docs/failure-modes.md says: long strings don't fill the memory.

Every test fills one of the structures in the page's tables with the largest values that it takes.
"""

import datetime as dt
import itertools
import re
import string
import tracemalloc

import pytest

from tests import retained_collections
from tests.cluster.event_api import EventApi, FakeClock
from tests.documented import CHECKOUT, PAGES, table_below
from tests.memory_bounds import MEMORY_BOUNDS
from tests.policies import HEAD
from tests.reviews import review
from webhook.audit.record import encode_record
from webhook.cluster.api_types import Annotations, ApiObject, Metadata
from webhook.cluster.event_recorder import EventRecorder
from webhook.cluster.state_store import NamespaceStore, SecretStore
from webhook.core import formatting
from webhook.core.admission_request import AdmissionRequest, Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import Decision, Finding, MountedToken, Outcome, Violation
from webhook.core.evaluate import evaluate
from webhook.core.formatting import did_you_mean
from webhook.core.json_patch import json_path
from webhook.core.k8s_names import OPERATIONS
from webhook.core.k8s_types import OwnerReference
from webhook.core.kinds import Subject
from webhook.core.owner_event import REJECTED, OwnerEvent, build_owner_event
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Action, Policy
from webhook.core.rules import RULES
from webhook.core.selectors import labels
from webhook.core.token_objects import INVALID_SINCE
from webhook.server.metrics.definitions import CAPPED, FINDINGS
from webhook.server.metrics.label_limits import MAX_AUDIENCE_LENGTH, MAX_AUDIENCES, MAX_NAMESPACES
from webhook.server.metrics.recorder import MAX_CACHED, RESOURCES, Metrics
from webhook.server.state import State

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
KIB, MIB = 1 << 10, 1 << 20
WIDEST = "\U0001f512"
"""Takes four bytes in memory, and makes every other character of its string take as much."""
ROWS = {
    cells[0]: cells[1]
    for heading in ("computed again.", "never with reviews:")
    for cells in table_below(PAGES["docs/failure-modes.md"], heading)
}
"""The rows of the page with their bounds."""
WHERE = {attribute: name for name, attributes in MEMORY_BOUNDS.items() for attribute in attributes}
OF_A_SHORT_LIFE = {
    "webhook/cluster/scan_reader.py::": "a scan's",
    "webhook/core/documents/": "of reading a document",
    "webhook/core/policy/errors.py::": "of reading a policy",
    "webhook/core/cluster_state_io.py::_Line": "one line, while it is written or read",
    "webhook/core/decision.py::Decision.encoded_patch": "of one review",
    "webhook/cluster/admission_history.py::_ManagedFields": "one object, while it is read",
    "webhook/cluster/report_writer.py::": "a scan's",
    "webhook/cluster/workload_reader.py::": "a migration's",
    "webhook/cluster/certificates/status.py::": "of one command",
    "webhook/pki/rotation.py::StoredCertificates": "of one look at the Secret",
    "webhook/cluster/custom_kinds.py::_Group": "one list of kinds, while it is read",
}
FIXED = {
    "webhook/core/token_context.py::_NONE": "an empty map",
    "webhook/core/kinds.py::NO_WORKLOADS": "an empty map",
    "webhook/core/rules/inject.py::_NO_MOUNTS": "an empty map",
    "webhook/core/rule.py::Rule.checks_by_subject": "the rules' own checks",
    "webhook/core/pod_context.py::_NONE": "an empty map",
    "webhook/cluster/state_store.py::_NONE": "an empty map",
    "webhook/core/bounded_cache.py::BoundedCache._entries": "what the caches in the table are made of",
    "webhook/server/http_server.py::HttpServer._listeners": "the listening socket",
    "webhook/cluster/self_probe.py::SelfProbe._last": "one result for each of the two pods",
    "webhook/core/policy/validator.py::_type_info": "the types of the policy document",
    "webhook/core/policy/schema.py::key_paths": "the keys of the policy document",
    "webhook/server/tls_stream.py::_CLEAR": "one TLS record, for all connections",
    "webhook/pki/certificate.py::Certificate.fingerprint": "64 characters of the one certificate",
}
POLICY = HEAD + (
    "rules: {kubelet-hostpath: reject}\n"
    "overrides: [{namespaces: ['n*'], mode: enforce}]\n"
    "exemptions: [{rules: [legacy-token-secret], users: [robot], reason: moving, until: never}]\n"
)


def bound(where: str) -> int:
    """Return the bytes that the page allows something."""
    number, unit = ROWS[WHERE[where]].split()[:2]
    return int(number) * {"KiB": KIB, "MiB": MIB}[unit]


def growth(act) -> int:
    """Return by how many bytes the memory in use has grown after an action."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        act()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def policy(text: str = POLICY) -> Policy:
    parsed = read_policy(text.encode())
    assert isinstance(parsed, Policy)
    return parsed


def longest(number: int, length: int) -> str:
    """Return a name of its own that is as long as its field may be."""
    return f"n{number}-".ljust(length, "a")


@pytest.mark.covers("threat-model: huge names")
def test_retained_collections_are_in_the_table() -> None:
    excused = (*OF_A_SHORT_LIFE, *FIXED)
    unlisted = {
        name for name in retained_collections.find_collections() if name not in WHERE and not name.startswith(excused)
    }
    assert unlisted == set()


def test_everything_in_the_table_and_excused_exists() -> None:
    collections = retained_collections.find_collections()
    held_otherwise = {name for name in WHERE if name not in collections}
    for name in held_otherwise:
        file, _, attribute = name.partition("::")
        words = attribute.split(".")
        assert all(re.search(rf"\b{word}\b", (CHECKOUT / file).read_text()) for word in words), name
    assert [name for name in (*OF_A_SHORT_LIFE, *FIXED) if not any(item.startswith(name) for item in collections)] == []


def test_memory_bounds_list_the_rows_of_the_page() -> None:
    assert list(MEMORY_BOUNDS) == list(ROWS)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("@lru_cache(maxsize=1)\ndef f(): ...", ["f"]),
        ("import functools\nclass A:\n    @functools.cached_property\n    def f(self): ...", ["A.f"]),
        ("_KNOWN: dict[str, str] = {}", ["_KNOWN"]),
        ("class A:\n    def f(self):\n        self._a = {}\n        self._b = queue.Queue(3)", ["A._a", "A._b"]),
        ("@dataclass\nclass A:\n    a: dict = field(default_factory=dict)\n    b: int = 3", ["A.a"]),
        ("class A:\n    a: B = field(default_factory=lambda: BoundedCache(1))", ["A.a"]),
        ("NAMES = {'a': 1}\ndef f():\n    found = []", []),
    ],
)  # fmt: skip
def test_retained_collections_are_found_in_source(source, names) -> None:
    assert list(retained_collections.collections_in(source)) == names


@pytest.mark.covers("failure-modes: exemptions by caller")
def test_exemptions_found_for_the_longest_names_stay_bounded() -> None:
    exempt = policy().exemption_index

    def fill() -> None:
        for number in range(1500):
            user = WIDEST + longest(number, 511)
            exempt.find("legacy-token-secret", longest(number, 63), (longest(number, 253),), user, NOW)

    assert growth(fill) < bound("webhook/core/policy/exemptions.py::ExemptionIndex._matches")
    assert len(exempt._matches) > 0


@pytest.mark.covers("failure-modes: exemptions by caller", "threat-model: huge names")
def test_denied_secrets_with_long_account_names_leave_no_memory() -> None:
    under = policy()

    def deny(first: int) -> None:
        for number in range(first, first + 50):
            annotations = {"kubernetes.io/service-account.name": longest(number, 260_000)}
            metadata = {"name": "t", "annotations": annotations}
            secret = {"kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": metadata}
            request = read_review(review(secret), Phase.VALIDATE)
            assert evaluate(request, under, ClusterState(), NOW).outcome == "denied"

    deny(0)  # what is loaded on first use
    assert growth(lambda: deny(1000)) < MIB


@pytest.mark.covers("failure-modes: policies by namespace")
def test_policies_of_namespaces_with_long_names_stay_bounded() -> None:
    under = policy()
    kinds = ("Pod", "Deployment", "Secret", "ServiceAccount", "TokenRequest")
    where = bound("webhook/core/policy/model.py::Policy._namespace_policies")

    def evaluate_in(namespaces: range) -> None:
        for number, kind in itertools.product(namespaces, kinds):
            name = longest(number, 63)
            cluster = ClusterState(namespaces={name: labels({"a" * 317: longest(number, 63), "name": name})})
            evaluate(
                read_review(review({"kind": kind, "metadata": {}}, namespace=name), Phase.VALIDATE), under, cluster, NOW
            )

    evaluate_in(range(1))
    assert growth(lambda: evaluate_in(range(1, 50))) < under._namespace_policies.size  # nothing is left out
    for number in range(5000):
        under.in_namespace(longest(number, 63), labels({"name": longest(number, 63)}))
        assert under._namespace_policies.size <= where
    assert len(under._namespace_policies) > 100


@pytest.mark.covers("failure-modes: spelling hints")
def test_hints_for_the_longest_words_stay_bounded(monkeypatch) -> None:
    monkeypatch.setattr(formatting, "_nearest", lambda wrong, _known: f'; did you mean "{wrong}"?')

    def fill() -> None:
        for number in range(400):
            did_you_mean(WIDEST + longest(number, 99), [f"{WIDEST}{number}".ljust(20, "b")] * 100)

    assert growth(fill) < bound("webhook/core/formatting.py::_hints")


@pytest.mark.covers("failure-modes: JSON paths")
def test_paths_of_the_longest_pointers_stay_bounded() -> None:
    def fill() -> None:
        for number in range(1000):
            json_path(f"/metadata/annotations/{WIDEST}{longest(number, 1900)}")
            json_path("/" + longest(number, 1_000_000))

    assert growth(fill) < bound("webhook/core/json_patch.py::_paths")


def largest(number: int) -> OwnerEvent:
    owner = OwnerReference(
        api_version=f"{'g' * 253}/{'v' * 63}", kind="K" * 63, name=longest(number, 253), uid=longest(number, 128)
    )
    about = ",".join(rule.name for rule in RULES)
    return OwnerEvent(longest(number // 90, 63), owner, REJECTED, about, f"{WIDEST}{number}".ljust(100_000, "m"))


@pytest.mark.covers("failure-modes: Events")
def test_pod_events_of_the_largest_size_stay_bounded() -> None:
    events = EventRecorder(EventApi(), FakeClock())

    def fill() -> None:
        for number in (*range(1300), *range(1100)):
            events.record(largest(number))

    assert growth(fill) < bound("webhook/cluster/event_recorder.py::EventRecorder._pending")
    assert len(events._pending) == 1000


@pytest.mark.covers("failure-modes: Events", "threat-model: huge names")
def test_denied_pods_with_long_owner_names_leave_no_event_behind() -> None:
    under, events = policy(), EventRecorder(EventApi())

    def deny(first: int) -> None:
        for number in range(first, first + 10):
            long = longest(number, 1_000_000)
            owner = {"apiVersion": long, "kind": long, "name": long, "uid": long, "controller": True}
            spec = {"containers": [{"name": "app"}], "volumes": [{"name": "root", "hostPath": {"path": "/"}}]}
            pod = {"kind": "Pod", "metadata": {"ownerReferences": [owner]}, "spec": spec}
            request = read_review(review(pod), Phase.VALIDATE)
            decision = evaluate(request, under, ClusterState(), NOW)
            assert decision.outcome == "denied"
            owner_event = build_owner_event(request, decision)
            if owner_event:
                events.record(owner_event)

    deny(0)
    assert growth(lambda: deny(1000)) < MIB
    assert events.write_next() is None


@pytest.mark.covers("failure-modes: metrics")
def test_metrics_with_every_label_value_stay_bounded() -> None:
    exemption = Exemption(("inject",), "moving", None)

    def fill() -> None:
        metrics = Metrics(State())
        for resource, operation in itertools.product(RESOURCES, OPERATIONS):
            for phase, outcome in itertools.product((Phase.MUTATE, Phase.VALIDATE), Outcome):
                metrics.count_review(request("demo", resource, operation, phase), Decision(outcome), 0.001)
        for number in range(MAX_NAMESPACES + 20):
            findings = tuple(
                Finding(rule.name, action, action, Violation("/spec", "is wrong"))
                for rule, action in itertools.product(RULES, Action)
            )
            exempt = tuple((finding, exemption) for finding in findings)
            metrics.count_review(request(longest(number, 63)), Decision(Outcome.DENIED, findings, (), exempt), 0.001)
        for number in itertools.count():
            audience = f"{WIDEST}{number}".ljust(MAX_AUDIENCE_LENGTH, "a") if number % 2 else longest(number, 63)
            violation = Violation("/spec", "is wrong", token=MountedToken(audience, 600 + (number << 18)))
            patched = [Finding(rule, Action.PATCH, Action.PATCH, violation) for rule in ("inject", "token-expiration")]
            metrics.count_review(request(longest(number, 63)), Decision(Outcome.PATCHED, tuple(patched)), 0.001)
            if number > 2 * MAX_CACHED and len(metrics._findings) >= MAX_CACHED - 1:
                break
        recorders.append(metrics)

    recorders: list[Metrics] = []
    assert growth(fill) < bound("webhook/server/metrics/recorder.py::Metrics.values")
    assert len(recorders[0].values[FINDINGS]) > MAX_NAMESPACES * len(RULES)
    assert len(recorders[0].values[CAPPED]) > MAX_AUDIENCES


def request(namespace: str, resource="pods", operation="CREATE", phase=Phase.VALIDATE) -> AdmissionRequest:
    return AdmissionRequest(phase, "7ceb3af7", operation, resource, namespace, "app", Subject.POD)


@pytest.mark.covers("failure-modes: waiting audit records")
def test_longest_audit_record_stays_bounded() -> None:
    bad = "\U000e0001" * 5000
    finding = Finding("inject", Action.PATCH, Action.PATCH, Violation(f"/{bad}", bad))
    operation = {"op": "add", "path": "/a", "value": bad[:2000]}
    exemption = Exemption(("inject",), bad, None)
    decision = Decision(
        Outcome.PATCHED, (finding,) * 200, (operation,) * 200, ((finding, exemption),) * 11, note=bad, problem=bad
    )
    request = AdmissionRequest(Phase.MUTATE, "u" * 128, bad, bad, bad, bad, Subject.POD, user=bad)
    longest_line = encode_record(request, decision, NOW, 0.0)
    assert len(longest_line) < bound("webhook/server/audit_log/sink.py::Sink._pending")


@pytest.mark.covers("failure-modes: readiness")
def test_reasons_for_not_being_ready_stay_bounded() -> None:
    state = State()

    def fill() -> None:
        errors = read_policy((HEAD + "".join(f"k{WIDEST * 1000}{n}: {'v' * 1000}\n" for n in range(30))).encode())
        assert not isinstance(errors, Policy)
        for number in range(100):
            state.set_not_ready("policy", f"policy not loaded: ConfigMap {'n' * 63}/{'c' * 253} {number}: {errors[0]}")

    assert growth(fill) < bound("webhook/server/state.py::State.not_ready_reasons")


@pytest.mark.covers("failure-modes: legacy Secrets")
def test_secrets_with_the_longest_names_take_a_kibibyte_each() -> None:
    published: list[object] = []
    secrets = SecretStore(lambda entries, _: published.__setitem__(slice(None), [entries]))
    disabled = {INVALID_SINCE: "2026-11-20"}
    count = 1000

    def fill() -> None:
        secrets.replace(
            ApiObject(
                metadata=Metadata(longest(n, 253), "demo", labels=disabled, annotations=Annotations(longest(n, 253)))
            )
            for n in range(count)
        )
        long = Annotations("a" * 260_000)
        for n in range(count):
            changed = Metadata(longest(n, 253), "demo", labels=disabled, annotations=long)
            secrets.apply([(ApiObject(metadata=changed), False)])

    assert growth(fill) < count * bound("webhook/cluster/state_store.py::SecretStore._known")
    assert secrets._known["demo"][longest(1, 253)] == ""


@pytest.mark.covers("failure-modes: Namespaces")
def test_namespaces_with_the_longest_labels_take_a_kibibyte_each() -> None:
    published: list[object] = []
    namespaces = NamespaceStore(lambda entries: published.__setitem__(slice(None), [entries]))
    count, each = 200, 10

    def fill() -> None:
        namespaces.replace(
            ApiObject(metadata=Metadata(longest(n, 63), labels={
                f"{n}{letter}".ljust(317, "a"): longest(n, 63) for letter in string.ascii_letters[:each]
            }))
            for n in range(count)
        )  # fmt: skip

    assert growth(fill) < count * each * bound("webhook/cluster/state_store.py::NamespaceStore._known")
