"""What can't be read is not let through where the policy enforces, and stops nothing where it doesn't."""

import datetime as dt
import json

import pytest

from tests.reviews import review
from webhook.core.admission_request import MAX_BRACES, InvalidReviewError, Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.evaluate import MAX_FINDINGS, evaluate
from webhook.core.policy.loader import read_policy
from webhook.core.token_objects import MAX_AUDIENCES

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
BAD_POD = {"kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"name": 7}]}}
BAD_DEPLOYMENT = {"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": {"spec": {"volumes": 1}}}}


def outcome(body: bytes, mode: str, **policy) -> str:
    document = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", "mode": mode, **policy}
    read = read_policy(json.dumps(document).encode())
    return str(evaluate(read_review(body, Phase.VALIDATE), read, ClusterState(), NOW).outcome)


@pytest.mark.parametrize(("mode", "expected"), [("enforce", "denied"), ("warn", "warned"), ("audit", "allowed")])
def test_unreadable_object_is_decided_by_the_mode(mode: str, expected: str) -> None:
    assert outcome(review(BAD_POD), mode) == expected


@pytest.mark.parametrize("item", ["{}", "{ }", '{"name": "m"}'], ids=["empty", "space", "name"])
@pytest.mark.covers("threat-model: large bodies")
def test_review_of_countless_objects_is_not_decoded(item) -> None:
    many = b", ".join([item.encode()] * (MAX_BRACES + 1))
    pod = {"kind": "Pod", "spec": {"containers": [{"name": "c", "volumeMounts": "MOUNTS"}]}}
    body = review(pod).replace(b'"MOUNTS"', b"[" + many + b"]")
    request = read_review(body, Phase.MUTATE)
    assert request.object is None
    assert "contains more than 100,000 JSON objects" in request.problem
    assert request.uid == json.loads(body)["request"]["uid"]
    assert outcome(body, "enforce") == "denied"
    assert outcome(body, "audit") == "allowed"


def test_token_request_with_countless_audiences_is_denied() -> None:
    token_request = {"kind": "TokenRequest", "spec": {"audiences": ["vault"] * (MAX_AUDIENCES + 1)}}
    assert outcome(review(token_request, name="app"), "enforce") == "denied"
    token_request["spec"]["audiences"].pop()
    assert outcome(review(token_request, name="app"), "enforce") == "allowed"


def test_pod_that_requests_countless_injections_is_denied() -> None:
    pod = {"kind": "Pod", "metadata": {"annotations": {"tokenguard/inject": "vault," * 2000}}}
    request = read_review(review({**pod, "spec": {"containers": [{"name": "c"}]}}), Phase.VALIDATE)
    document = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy"}
    document["inject"] = [{"name": "vault", "audience": "v", "mountPath": "/v", "onRequest": True}]
    decision = evaluate(request, read_policy(json.dumps(document).encode()), ClusterState(), NOW)
    assert any("requests the injection" in finding.detail for finding in decision.findings)


def test_unreadable_object_is_decided_by_the_override() -> None:
    assert outcome(review(BAD_POD), "audit", overrides=[{"namespaces": ["demo"], "mode": "enforce"}]) == "denied"


def test_unreadable_workload_is_never_denied() -> None:
    assert outcome(review(BAD_DEPLOYMENT), "enforce") == "warned"


@pytest.mark.parametrize(
    ("mode", "overrides", "expected"),
    [("enforce", [], "denied"), ("audit", [], "allowed"), ("audit", [{"mode": "enforce"}], "denied")],
)
def test_unreadable_namespace_is_decided_by_the_strictest_mode(mode, overrides, expected) -> None:
    body = json.loads(review({"kind": "Pod", "metadata": {}, "spec": {}}))
    body["request"]["kind"] = 7
    assert outcome(json.dumps(body).encode(), mode, overrides=overrides) == expected


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"[]", "the body is not an AdmissionReview"),
        (b'{"kind":"Pod"}', "its kind is missing or different"),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}', "admissionReviewVersions"),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}', "has no request"),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}', "has no uid"),
        (b'{"kind":7}', "the body is not an AdmissionReview"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'"\\ud800"', "the body is not"),
        (b"[" * 100_000, "the body is not"),
        (b'{"object":{"request":{"uid":"a","x":' + b"[" * 100_000, "it nests too deep"),
        (b'{"request":{"object":{"uid":"a","x":' + b"[" * 100_000, "it nests too deep"),
    ],
)
@pytest.mark.covers("threat-model: large bodies")
def test_invalid_review_is_reported_in_one_line(body: bytes, why: str) -> None:
    with pytest.raises(InvalidReviewError, match=why) as raised:
        read_review(body, Phase.MUTATE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("start", [b"", b'"kind":"AdmissionReview", "apiVersion":"admission.k8s.io/v1",\n'])
@pytest.mark.covers("failure-modes: odd JSON")
def test_review_nested_too_deep_is_answered_by_its_uid(start: bytes) -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    body = b"{" + start + b'"request": {"uid": "7ceb3af7-9b31", "kind": {}, "object": {"x": ' + deep + b"}}}"
    request = read_review(body, Phase.VALIDATE)
    assert (request.uid, request.problem) == ("7ceb3af7-9b31", "the AdmissionReview can't be read: it nests too deep")
    assert outcome(body, "enforce") == "denied"


@pytest.mark.covers("threat-model: expensive pod")
def test_pod_with_many_wrong_names_is_evaluated_fast() -> None:
    many = 5_000
    tokens = [
        {"serviceAccountToken": {"path": f"p{n}", "audience": f"https://wrong-{n}.example.com"}} for n in range(many)
    ]
    pod = {
        "kind": "Pod",
        "metadata": {"annotations": {"tokenguard/inject": ",".join(f"vault-{n}" for n in range(many))}},
        "spec": {"containers": [{"name": "a"}], "volumes": [{"name": "t", "projected": {"sources": tokens}}]},
    }
    allowed = [f"https://allowed-{n}.example.com" for n in range(100)]
    document = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", "tokens": {"audiences": {"allowed": allowed}}}
    policy = read_policy(json.dumps(document).encode())
    decision = evaluate(read_review(review(pod), Phase.VALIDATE), policy, ClusterState(), NOW)
    guesses = [finding for finding in decision.findings if "did you mean" in finding.detail]
    assert (len(decision.findings), len(guesses)) == (MAX_FINDINGS + 10, 10)
