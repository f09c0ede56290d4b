"""Odd bodies sent to the API server: the object that tokenguard evaluates is the one that is stored.

The API server reads what it is sent, in its own way, into the types that it knows; what webhooks get is encoded again
from these. So it doesn't matter that a key given twice is merged by it (a struct's members add up) and replaced by most
other readers: no webhook ever sees it twice.
"""

import datetime as dt
import json

import pytest

from tests.control_plane.conftest import GUARDED_BY, configuration, rule
from tests.control_plane.raw_requests import post, recorder
from tests.reviews import review
from tests.serving import eventually
from webhook.core.admission_request import Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.evaluate import evaluate
from webhook.core.policy.loader import read_policy

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
PATH = "/api/v1/namespaces/demo/pods"
LENIENT = "?fieldValidation=Ignore"
REFUSED, DENIED, STORED = "refused by the API server", "denied by tokenguard", "stored"

APP = b'"containers":[{"name":"app","image":"i"}]'
LEGACY = b'"volumes":[{"name":"v","secret":{"secretName":"app-token"}}]'
EMPTY = b'"volumes":[{"name":"v","emptyDir":{}}]'


def spec(*members: bytes) -> bytes:
    return b'"spec":{%b}' % b",".join(members)


def env(value: bytes) -> bytes:
    return spec(APP[:-2] + b',"env":[{"name":"A","value":"%b"}]}]' % value)


def seconds(number: bytes) -> bytes:
    token = b'{"serviceAccountToken":{"path":"t","audience":"x","expirationSeconds":%b}}' % number
    return spec(APP, b'"volumes":[{"name":"v","projected":{"sources":[%b]}}]' % token)


def owned(depth: int) -> bytes:
    """Return a field of metadata that may nest as deep as its author likes."""
    deep = b'{"f:a":' * depth + b"{}" + b"}" * depth
    return (
        b'"managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","time":"2026-11-23T12:00:00Z",'
        b'"fieldsType":"FieldsV1","fieldsV1":{"f:spec":%b}}]' % deep
    )


POD = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"odd"},'
MEMBERS = {
    "a map twice, the Secret in the first": (spec(LEGACY) + b"," + spec(APP), DENIED),
    "a map twice, the Secret in the last": (spec(APP) + b"," + spec(LEGACY), DENIED),
    "a map twice, the last null": (spec(APP, LEGACY) + b',"spec":null', DENIED),
    "a list twice, the Secret in the first": (spec(APP, LEGACY, EMPTY), REFUSED),
    "a list twice, the Secret in the last": (spec(APP, EMPTY, LEGACY), REFUSED),
    "a list twice, the last null": (spec(APP, LEGACY, b'"volumes":null'), STORED),
    "a list twice, the last empty": (spec(APP, LEGACY, b'"volumes":[]'), STORED),
    "a key in another case": (spec(APP, LEGACY.replace(b"volumes", b"Volumes")), STORED),
    "a key in both cases": (spec(APP) + b"," + spec(LEGACY).replace(b"spec", b"Spec"), STORED),
    "a field of a Secret in another case": (spec(APP, LEGACY.replace(b"secretName", b"secretname")), REFUSED),
    "a key with an escape": (spec(APP, LEGACY).replace(b"volumes", b"v\\u006flumes"), DENIED),
    "a name with an escape": (spec(APP, LEGACY).replace(b"app-token", b"app\\u002dtoken"), DENIED),
    "a key with a byte that is no text beside the true one": (spec(APP, b'"volumes\xff":[]', LEGACY), DENIED),
    "a number with a fraction": (seconds(b"7200.0"), REFUSED),
    "a number with an exponent": (seconds(b"72e2"), REFUSED),
    "a number without a place": (seconds(b"1e400"), REFUSED),
    "a number past 64 bits": (seconds(b"18446744073709558816"), REFUSED),
    "a zero below zero": (seconds(b"-0"), REFUSED),
    "no number": (seconds(b"NaN"), REFUSED),
    "NUL in a value": (env(b"a\\u0000b"), STORED),
    "NUL in a Secret's name": (spec(APP, LEGACY).replace(b"app-token", b"app-token\\u0000"), STORED),
    "a lone surrogate": (env(b"\\ud800"), STORED),
    "a lone surrogate in a Secret's name": (spec(APP, LEGACY).replace(b"app-token", b"app-token\\udfff"), STORED),
    "bytes that are no text": (env(b"\xff\xc0\x80\xed\xa0\x80"), STORED),
    "what is escaped for a page": (env(b"<&>\xe2\x80\xa8"), STORED),
    "depth in what nobody knows": (spec(APP, b'"x":' + b"[" * 5000 + b"]" * 5000), STORED),
    "too much depth": (spec(APP, b'"x":' + b"[" * 20_000 + b"]" * 20_000), REFUSED),
}


def in_protobuf(name: bytes) -> bytes:
    """Return a pod that mounts the Secret of this name, in protobuf, with `spec` in two halves."""

    def member(number: int, value: bytes) -> bytes:
        assert len(value) < 128
        return bytes([number << 3 | 2, len(value)]) + value

    volume = member(1, b"v") + member(2, member(6, member(1, name)))
    pod = (
        member(1, member(1, b"odd"))
        + member(2, member(1, volume))
        + member(2, member(2, member(1, b"app") + member(2, b"i")))
    )
    return b"k8s\x00" + member(1, member(1, b"v1") + member(2, b"Pod")) + member(2, pod)


YAML = b"{apiVersion: v1, kind: Pod, metadata: {name: odd}, "
BODIES = {
    **{name: (POD + members + b"}", "application/json", outcome) for name, (members, outcome) in MEMBERS.items()},
    "something after the end": (POD + spec(APP) + b"}" + POD + spec(APP, LEGACY) + b"}", "application/json", REFUSED),
    "a byte order mark": (b"\xef\xbb\xbf" + POD + spec(APP, LEGACY) + b"}", "application/json", REFUSED),
    "deep, and evaluated": (
        POD.replace(b"}", b"," + owned(400) + b"}", 1) + spec(APP, LEGACY) + b"}", "application/json", DENIED,
    ),
    "too deep to be evaluated": (
        POD.replace(b"}", b"," + owned(3000) + b"}", 1) + spec(APP) + b"}", "application/json", DENIED,
    ),
    "a map twice in YAML": (
        YAML + spec(LEGACY) + b", " + spec(APP) + b"}", "application/yaml", STORED,
    ),
    "a merge key in YAML": (
        YAML + b"x: &x {%b}, spec: {<<: *x, %b}}" % (LEGACY, APP), "application/yaml", DENIED,
    ),
    "halves in protobuf": (in_protobuf(b"app-token"), "application/vnd.kubernetes.protobuf", DENIED),
    "no text in protobuf": (in_protobuf(b"app-token\xff"), "application/vnd.kubernetes.protobuf", STORED),
}  # fmt: skip


@pytest.fixture(scope="module")
def observed_plane(guarded_plane, tmp_path_factory):
    """Return the guarded control plane, and the reviews as a webhook beside tokenguard gets them."""
    plane, _ = guarded_plane
    with recorder(tmp_path_factory.mktemp("recorder")) as (address, authority, bodies):
        beside = configuration("ValidatingWebhookConfiguration", {
            "name": "pods.recorder.example.com",
            "clientConfig": {"url": f"https://{address}/", "caBundle": authority},
            "rules": [rule("", ["pods"], ["CREATE"])],
        })  # fmt: skip
        plane.do("create", "-f", "-", stdin=beside | {"metadata": {"name": "recorder"}})
        probe = POD + spec(APP) + b"}"
        eventually(lambda: post(plane, PATH + "?dryRun=All", probe)[0] == 201 and bodies)
        yield plane, bodies
        plane.do("delete", "validatingwebhookconfiguration", "recorder")


@pytest.mark.parametrize(("body", "content_type", "outcome"), BODIES.values(), ids=BODIES)
@pytest.mark.covers("failure-modes: odd JSON")
def test_evaluated_object_is_the_stored_object(observed_plane, body, content_type, outcome) -> None:
    plane, bodies = observed_plane
    bodies.clear()
    status, answer = post(plane, PATH + LENIENT, body, content_type)
    if outcome is REFUSED:
        assert status in {400, 422}, answer
        assert "webhook" not in answer["message"]
        return
    if outcome is DENIED:
        assert status in {400, 403}, answer
        assert '.tokenguard.svc" denied the request: ' in answer["message"]
        return
    assert status == 201, answer
    stored = json.loads(plane.do("get", "pod", "odd", "-n", "demo", "-o", "json"))
    plane.do("delete", "pod", "odd", "-n", "demo", "--grace-period=0", "--force")
    evaluated = json.loads(bodies[-1])["request"]["object"]
    assert evaluated["spec"] == stored["spec"]
    policy = read_policy(GUARDED_BY.encode())
    cluster = ClusterState(legacy_tokens={"demo": {"app-token": "app"}})
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "odd"}, "spec": stored["spec"]}
    assert evaluate(read_review(review(manifest), Phase.VALIDATE), policy, cluster, NOW).outcome == "allowed"


@pytest.mark.covers("failure-modes: odd JSON")
def test_duplicate_key_is_refused_under_strict_validation(observed_plane) -> None:
    plane, bodies = observed_plane
    bodies.clear()
    body = POD + spec(LEGACY) + b"," + spec(APP) + b"}"
    status, answer = post(plane, PATH + "?fieldValidation=Strict", body)
    assert (status, bodies) == (400, [])
    assert 'duplicate field "spec"' in answer["message"]
