"""What a status is made from, read from an API server that knows some paths and refuses others."""

import base64
import datetime as dt
import json

import pytest

from webhook.cluster.status_reader import parse_metrics, read_facts
from webhook.cluster.transport import ApiError
from webhook.core.dry_run import DryRunAnswer
from webhook.core.webhook_namespaces import Requirement
from webhook.pki.issue import create_ca, issue_certificate
from webhook.status.facts import NotRead, PodFacts
from webhook.status.probe import ProbeResult
from webhook.status.webhooks import MUTATING, VALIDATING

NOW = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
CA = create_ca(NOW)
PAIR = issue_certificate(CA, ("tokenguard.tokenguard.svc",), NOW)
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
OWN = "/api/v1/namespaces/tokenguard"
POLICY = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
METRICS = """\
# HELP tokenguard_policy_info The policy in force.
tokenguard_policy_info{mode="enforce",revision="0123456789ab"} 1.0
tokenguard_certificate_expiry_timestamp_seconds 1.8e+09
tokenguard_probe_last_success_timestamp_seconds{probe="deny"} 1.7e+09
"""


def b64(data):
    return base64.b64encode(data).decode()


def pod(name, **status):
    return {"metadata": {"name": name}, "status": status}


def webhook(name):
    return {
        "name": name, "failurePolicy": "Fail",
        "clientConfig": {"service": {"name": "tokenguard", "namespace": "tokenguard"}, "caBundle": b64(CA.certificate)},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "operations": ["CREATE"]}],
        "namespaceSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]},
        "objectSelector": {}, "matchConditions": [{"name": "n", "expression": "true"}],
    }  # fmt: skip


EXPORTED = {
    "metadata": {"name": "tokenguard-x", "annotations": {
        "tokenguard/policy": "abc", "tokenguard/spec-sha256": "0", "tokenguard/exported-objects": "2",
    }},
    "spec": {},
}  # fmt: skip
WHOLE = {
    "/apis/apps/v1/namespaces/tokenguard/deployments/tokenguard": {
        "metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "guard"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [{"env": [{"name": "TOKENGUARD_MANAGE_CERTS"}]}]}}},
        "status": {"readyReplicas": 1, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"},
        ]},
    },
    f"{OWN}/pods": {"items": [
        pod("a", conditions=[{"type": "Ready", "status": "True"}]),
        pod("b", conditions=[{"type": "Ready", "status": "False", "message": "containers with unready status"}],
            containerStatuses=[{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "back-off"}}}]),
        pod("c", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                              "message": "0/3 nodes are available"}]),
        pod("d", containerStatuses=[{"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
                                     "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]),
        pod("e", containerStatuses=[{"state": {"running": {}}}],
            conditions=[{"type": "Ready", "status": "False", "message": "containers with unready status"}]),
        pod("f", phase="Pending"),
    ]},
    f"{OWN}/pods/https:a:8443/proxy/metrics": METRICS,
    f"{OWN}/secrets/tokenguard-tls": {"data": {
        "tls.crt": b64(PAIR.certificate), "ca.crt": b64(CA.certificate),
        "tls.key": b64(PAIR.key), "ca.key": b64(CA.key),
    }},
    f"{OWN}/configmaps/token-policy": {"data": {"policy.yaml": POLICY}},
    f"{OWN}/configmaps/tokenguard-scan": {"data": {"max-age-seconds": "7200", "status.json": json.dumps({
        "time": "2026-11-26T11:00:00Z", "policy": "x", "api": "y", "reports": 1, "results": {}, "leftOut": 0,
        "pods": {}, "unevaluatedPods": {"not-evaluated": 2, "before-installation": 9}, "legacySecrets": 0,
    })}},
    f"{REGISTRATION}/mutatingwebhookconfigurations/tokenguard": {
        "metadata": {"annotations": {"tokenguard/namespace-opt-out-label": "example.com/off", "other": "x"}},
        "webhooks": [webhook("pods.mutate.tokenguard.svc")],
    },
    f"{REGISTRATION}/validatingadmissionpolicies": {"items": [EXPORTED]},
    f"{REGISTRATION}/validatingadmissionpolicybindings": {"items": []},
    "/api/v1/namespaces": {"kind": "PartialObjectMetadataList", "items": [
        {"metadata": {"name": "shop", "labels": {"x": "y"}}}, {"metadata": {"name": "tokenguard-probe"}},
    ]},
}  # fmt: skip


NO_NAMESPACES = {"/api/v1/namespaces": {"kind": "PartialObjectMetadataList"}}


class ApiServer:
    """Answers with `objects` by path; what is missing is not found, or is forbidden with `forbidden`."""

    address, context = "https://api", "staging"

    def __init__(self, objects, *, forbidden=False, allowed=True) -> None:
        self.objects, self.forbidden, self.allowed, self.requests = objects, forbidden, allowed, []

    def now(self):
        return NOW

    def get(self, path, _query, _accept):
        if path not in self.objects:
            raise ApiError(403, "HTTP 403: no") if self.forbidden else ApiError(404, "HTTP 404: no")
        answer = self.objects[path]
        return answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()

    def post(self, _path, _body):
        if self.forbidden:
            raise ApiError(403, "HTTP 403: no")
        return json.dumps({"status": {"allowed": self.allowed, "userInfo": {"username": "me"}}}).encode()

    def dry_run(self, path, _body):
        self.requests.append(path)
        return DryRunAnswer(201, "")


def test_everything_is_read() -> None:
    server = ApiServer(WHOLE)
    facts = read_facts(server, "tokenguard", None, probe=True)
    assert (facts.cluster, facts.context, facts.now) == ("https://api", "staging", NOW)
    assert (facts.replicas.wanted, facts.replicas.ready, facts.replicas.reason) == (3, 1, "exceeded quota")
    assert facts.replicas.helm_release == "guard"
    assert facts.replicas.manages_certificates
    assert facts.replicas.pods == (
        PodFacts("a", is_ready=True), PodFacts("b", is_ready=False, reason="ImagePullBackOff: back-off"),
        PodFacts("c", is_ready=False, reason="Unschedulable: 0/3 nodes are available"),
        PodFacts("d", is_ready=False, reason="CrashLoopBackOff: OOMKilled, exit status 137", has_log=True,
                 is_restarting=True),
        PodFacts("e", is_ready=False, reason="containers with unready status", has_log=True),
        PodFacts("f", is_ready=False, reason="Pending"),
    )  # fmt: skip
    assert facts.replicas.metrics["a"].revision == "0123456789ab"
    assert facts.certificate == (PAIR.certificate, CA.certificate, True)
    assert facts.policy.policy.revision == facts.policy.revision
    assert facts.configurations[VALIDATING] is None
    assert (facts.scan.unevaluated, facts.scan.max_age) == (2, 7200)
    assert facts.backstop == ("vap", (
        "tokenguard-x was edited", "1 of the exported policies and bindings are missing",
        f"made from policy abc, not from {facts.policy.revision}",
    ))  # fmt: skip
    assert facts.namespaces == {"shop": {"x": "y"}, "tokenguard-probe": {}}
    assert set(server.requests) == {"/api/v1/namespaces/tokenguard-probe/pods"}
    assert [finding.result for finding in facts.probe.findings] == [ProbeResult.NOT_ENFORCED] * 2
    assert facts.probe.is_unlocked


def test_webhook_is_read_with_its_selectors() -> None:
    facts = read_facts(ApiServer(WHOLE), "tokenguard", None, probe=False)
    assert facts.configurations[MUTATING].opt_out_label == "example.com/off"
    webhook_facts = facts.configurations[MUTATING].webhooks["pods.mutate.tokenguard.svc"]
    assert webhook_facts.namespace_selector == (Requirement("a", "In", ("b",)), Requirement("c", "Exists"))
    assert (webhook_facts.rules, webhook_facts.has_object_selector) == (frozenset({("pods", "CREATE")}), False)
    assert (webhook_facts.target, webhook_facts.host) == ("tokenguard/tokenguard", "tokenguard.tokenguard.svc")
    assert webhook_facts.bundle == CA.certificate


def test_no_private_key_is_in_the_facts() -> None:
    text = repr(read_facts(ApiServer(WHOLE), "tokenguard", None, probe=False))
    assert "BEGIN CERTIFICATE" in text
    assert "PRIVATE KEY" not in text


def test_what_does_not_exist_is_none() -> None:
    facts = read_facts(ApiServer({}), "tokenguard", None, probe=True)
    parts = (facts.replicas, facts.certificate, facts.policy, facts.scan, facts.backstop, facts.probe)
    assert parts == (None,) * 6
    assert [*facts.configurations.values()] == [None, None]


def test_what_is_forbidden_is_not_read() -> None:
    facts = read_facts(ApiServer({}, forbidden=True), "tokenguard", None, probe=True)
    parts = (facts.replicas, facts.certificate, facts.policy, facts.scan, facts.backstop, facts.namespaces)
    assert parts == (NotRead("HTTP 403: no"),) * 6


@pytest.mark.parametrize(
    ("given", "objects", "expected"),
    [
        pytest.param("mine", WHOLE, "mine", id="given"),
        pytest.param(
            None, {**WHOLE, "/api/v1/namespaces": {"kind": "PartialObjectMetadataList"}}, "default", id="none"
        ),
    ],
)
def test_probe_is_in_the_namespace_that_exists(given, objects, expected) -> None:
    server = ApiServer(objects)
    read_facts(server, "tokenguard", given, probe=True)
    assert set(server.requests) == {f"/api/v1/namespaces/{expected}/pods"}


def test_probe_without_the_right_or_the_wish_creates_nothing() -> None:
    for server, wish in ((ApiServer(WHOLE, allowed=False), True), (ApiServer(WHOLE), False)):
        assert isinstance(read_facts(server, "tokenguard", None, probe=wish).probe, NotRead)
        assert server.requests == []


def test_invalid_policy_has_its_errors() -> None:
    objects = {**WHOLE, f"{OWN}/configmaps/token-policy": {"data": {"policy.yaml": f"{POLICY}modee: warn\n"}}}
    facts = read_facts(ApiServer(objects), "tokenguard", None, probe=True)
    assert [error.line for error in facts.policy.errors] == [3]
    assert facts.probe is None


def test_unreachable_api_server_ends_the_run() -> None:
    class Down(ApiServer):
        def get(self, _path, _query, _accept):
            raise ApiError(0, "the connection to the server was refused", unreachable=True)

    with pytest.raises(ApiError, match="refused"):
        read_facts(Down({}), "tokenguard", None, probe=True)


def test_metrics_without_the_samples_say_nothing() -> None:
    assert parse_metrics("") == ("", None, {}, None)
    assert parse_metrics(METRICS).probe_successes == {"deny": dt.datetime.fromtimestamp(1.7e9, dt.UTC)}
