"""The backstop without an API server: what it reports, and when it logs. control_plane/ has the rest."""

import datetime as dt
import json
from pathlib import Path

import pytest

from tests.cluster.fake import FakeTransport
from webhook.cluster import backstop as backstop_module
from webhook.cluster.backstop import Backstop, BackstopMode, BackstopState, backstop_state
from webhook.cluster.transport import ApiError
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import default_policy
from webhook.core.snapshot import Snapshot
from webhook.export.compiler import compile_policy
from webhook.export.objects import PolicyTooLargeError

NOTHING = json.dumps({"items": []}).encode()
NOT_SERVED = ApiError(404, "the server could not find the requested resource")


def listed(objects) -> list[bytes]:
    kinds = [f"{phase}AdmissionPolicy{ending}" for phase in ("Mutating", "Validating") for ending in ("", "Binding")]
    return [json.dumps({"items": [obj for obj in objects if obj["kind"] == kind]}).encode() for kind in kinds]


def test_state_without_objects_is_off() -> None:
    state = backstop_state(FakeTransport(NOT_SERVED, NOT_SERVED, NOTHING, NOTHING))
    assert state == BackstopState(BackstopMode.OFF)
    assert not list(state.problems("any"))


@pytest.mark.parametrize("mode", [BackstopMode.VAP, BackstopMode.MAP])
def test_state_of_exported_objects_is_in_step_with_their_policy(mode) -> None:
    policy = default_policy()
    objects = compile_policy(policy, patched=mode is BackstopMode.MAP).objects
    state = backstop_state(FakeTransport(*listed(objects)))
    assert state.mode is mode
    assert not list(state.problems(policy.revision))
    assert list(state.problems("0" * 12)) == [f"made from policy {policy.revision}, not from 000000000000"]


def test_state_names_what_was_edited_and_counts_what_is_missing() -> None:
    objects = list(compile_policy(default_policy(), patched=False).objects)
    objects[1] = {**objects[1], "spec": {**objects[1]["spec"], "validationActions": ["Audit"]}}
    state = backstop_state(FakeTransport(*listed(objects[:-1])))
    assert list(state.problems(default_policy().revision)) == [
        f"{objects[1]['metadata']['name']} was edited",
        "1 of the exported policies and bindings are missing",
    ]


EMPTY = (NOTHING,) * 4
NOT_THERE = ApiError(404, "HTTP 404: not found")
CONFIGURATION = json.dumps({
    "metadata": {"name": "tokenguard"},
    "webhooks": [{
        "name": "pods.validate.tokenguard.svc",
        "namespaceSelector": {"matchExpressions": [{"key": "off", "operator": "DoesNotExist"}]},
        "matchConditions": [{"name": "x", "expression": "!(request.namespace in 'a,b'.split(','))"}],
    }],
}).encode()  # fmt: skip


class Applying(FakeTransport):
    """Remembers what is applied, or refuses the kinds that it does not serve."""

    def __init__(self, *answers, unserved="no kind") -> None:
        super().__init__(*answers)
        self.applied = []
        self.unserved = unserved

    def now(self):
        return dt.datetime(2026, 11, 26, tzinfo=dt.UTC)

    def apply(self, _path, body, _manager) -> bytes:
        if body["kind"].startswith(self.unserved):
            raise NOT_SERVED
        self.applied.append(body)
        return json.dumps(body).encode()


def backstop_of(transport, mode=BackstopMode.VAP, report=lambda _: None) -> Backstop:
    return Backstop(
        lambda: None, report, Path(), kubeconfig=None, mode=mode, excluded=("tokenguard",), transport=transport
    )


SNAPSHOT = Snapshot(default_policy(), ClusterState())


def excluded(objects) -> list:
    return next(
        obj["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
        for obj in objects
        if obj["metadata"]["name"] == "tokenguard-token-expiration-deny" and "matchConstraints" in obj["spec"]
    )


def test_reconcile_excludes_what_the_webhooks_exclude() -> None:
    transport = Applying(CONFIGURATION, *EMPTY)
    assert backstop_of(transport).reconcile(SNAPSHOT) == len(transport.applied) > 0
    assert excluded(transport.applied) == [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "tokenguard", "a", "b"]},
        {"key": "off", "operator": "DoesNotExist"},
    ]


def test_reconcile_without_configuration_writes_nothing() -> None:
    transport = Applying(NOT_THERE)
    with pytest.raises(ApiError, match="no ValidatingWebhookConfiguration/tokenguard"):
        backstop_of(transport).reconcile(SNAPSHOT)
    assert not transport.applied


def test_reconcile_without_configuration_excludes_as_before() -> None:
    transport = Applying(CONFIGURATION, *EMPTY, NOT_THERE, *EMPTY)
    backstop = backstop_of(transport)
    backstop.reconcile(SNAPSHOT)
    first, transport.applied = transport.applied, []
    backstop.reconcile(SNAPSHOT)
    assert transport.applied == first


@pytest.mark.parametrize(
    ("mode", "unserved", "message"),
    [
        (BackstopMode.MAP, "Mutating", "MutatingAdmissionPolicy .*; Kubernetes 1.36 and newer do"),
        (BackstopMode.VAP, "Validating", "ValidatingAdmissionPolicy .*; Kubernetes 1.30 and newer do"),
    ],
)
def test_reconcile_kind_not_served_writes_nothing_and_says_why(mode, unserved, message) -> None:
    transport = Applying(CONFIGURATION, *EMPTY, unserved=unserved)
    with pytest.raises(ApiError, match=f"the API server does not serve {message}"):
        backstop_of(transport, mode).reconcile(SNAPSHOT)
    assert not transport.applied


def test_reconcile_off_without_the_kinds_is_in_step() -> None:
    assert backstop_of(FakeTransport(*[NOT_SERVED] * 4), BackstopMode.OFF).reconcile(SNAPSHOT) == 0


def test_reconcile_error_is_reported_each_time_and_logged_once(caplog) -> None:
    refused = ApiError(403, "HTTP 403: forbidden")
    reports: list[bool] = []
    transport = FakeTransport(refused, refused, NOTHING, NOTHING, NOTHING, NOTHING)
    backstop = backstop_of(transport, BackstopMode.OFF, reports.append)
    with caplog.at_level("INFO", "tokenguard.backstop"):
        for _ in range(3):
            backstop.reconcile_and_report(SNAPSHOT)
    assert reports == [False, False, True]
    assert caplog.messages == [
        "the backstop differs from the policy: HTTP 403: forbidden",
        "the backstop is in step with the policy again",
    ]


def test_reconcile_too_large_policy_is_compiled_once(monkeypatch) -> None:
    compiled = []

    def refuse(policy, **_settings):
        compiled.append(policy)
        raise PolicyTooLargeError("too large")

    monkeypatch.setattr(backstop_module, "compile_policy", refuse)
    backstop = backstop_of(Applying(CONFIGURATION, CONFIGURATION))
    for _ in range(2):
        with pytest.raises(PolicyTooLargeError, match="too large"):
            backstop.reconcile(SNAPSHOT)
    assert len(compiled) == 1
