"""The self-probe of a replica on a real API server: what it finds, and that its right to create pods creates none."""

import json
import re

import pytest

from tests.control_plane.installed import installed
from tests.control_plane.live import account_kubeconfig
from tests.control_plane.plane import own_plane
from tests.end_to_end.cluster import put_policy
from tests.manifests.rendering import render, the
from tests.serving import eventually
from webhook.cluster.api_client import ApiClient
from webhook.status.probe import ProbePod

NAMESPACE = "tokenguard-probe"
POLICY = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "intruder", "namespace": NAMESPACE},
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "c", "securityContext": {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        }}],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probed")
    objects = render("manifests")
    [container] = the("Deployment", objects)["spec"]["template"]["spec"]["containers"]
    container["env"].append({"name": "TOKENGUARD_PROBE_INTERVAL", "value": "1"})
    with own_plane(folder) as plane:
        if not plane.has_controllers:
            pytest.skip("needs kube-controller-manager: a quota holds when its status is computed")
        plane.start_controllers()
        for obj in render("manifests/probe"):
            plane.do("apply", "-f", "-", stdin=obj)
        eventually(lambda: plane.kubectl("get", "serviceaccount", "default", "-n", "default").returncode == 0)
        hard = ("get", "resourcequota", "-n", NAMESPACE, "-o", "jsonpath={.items[*].status.hard.pods}")
        eventually(lambda: plane.do(*hard) == "0")
        with installed(plane, folder, 1, objects) as running:
            put_policy(plane, POLICY)
            yield running


def counted(server, result, probe=""):
    labels = {"result": result} | ({"probe": probe} if probe else {})
    return server.metric("tokenguard_probes_total", **labels)


def goes_up(server, result, probe=""):
    before = counted(server, result, probe)
    eventually(lambda: counted(server, result, probe) > before, patience=60)


def test_probe_succeeds_without_a_record_or_a_count(installation) -> None:
    [server] = installation.replicas
    for pod in ProbePod:
        goes_up(server, "success", pod)
        assert server.metric("tokenguard_probe_last_success_timestamp_seconds", probe=pod) > 1.7e9
    before = server.metric("tokenguard_reviews_total", resource="pods"), server.metric("tokenguard_findings_total")
    goes_up(server, "success", "deny")
    after = server.metric("tokenguard_reviews_total", resource="pods"), server.metric("tokenguard_findings_total")
    assert before == after
    assert [record for record in server.audit if record.get("namespace") == NAMESPACE] == []
    events = json.loads(installation.plane.do("get", "events", "-n", NAMESPACE, "-o", "json"))["items"]
    assert events == []


def test_mode_audit_is_no_failure(installation) -> None:
    [server] = installation.replicas
    put_policy(installation.plane, f"{POLICY}mode: audit\n")
    eventually(lambda: server.metric("tokenguard_policy_info", mode="audit"))
    failures = counted(server, "not_enforced")
    goes_up(server, "success")
    goes_up(server, "success")
    assert counted(server, "not_enforced") == failures
    put_policy(installation.plane, POLICY)
    eventually(lambda: server.metric("tokenguard_policy_info", mode="enforce"))
    goes_up(server, "success", "patch")


@pytest.mark.covers("threat-model: self-probe's account")
def test_probe_account_creates_no_pod(installation, tmp_path) -> None:
    client = ApiClient(account_kubeconfig(installation.plane, tmp_path), tmp_path)
    answer = client.dry_run(PODS, POD)
    assert (answer.status, "exceeded quota" in answer.message) == (403, True)
    created = installation.plane.kubectl("create", "-f", "-", "--kubeconfig", str(tmp_path / "kubeconfig"), stdin=POD)
    assert "exceeded quota" in created.stderr
    for verb, resource in (("delete", "resourcequotas"), ("patch", "resourcequotas"), ("delete", "namespaces")):
        question = ("auth", "can-i", verb, resource, "-n", NAMESPACE)
        said = installation.plane.kubectl(*question, "--as=system:serviceaccount:tokenguard:tokenguard").stdout
        assert said.strip() == "no"


@pytest.mark.covers("failure-modes: webhook configuration changed")
@pytest.mark.parametrize(
    ("kind", "probe"), [("mutatingwebhookconfiguration", "patch"), ("validatingwebhookconfiguration", "deny")]
)
def test_probe_finds_a_deleted_configuration(installation, kind, probe) -> None:
    [server] = installation.replicas
    plane = installation.plane
    saved = json.loads(plane.do("get", kind, "tokenguard", "-o", "json"))
    plane.do("delete", kind, "tokenguard")
    try:
        goes_up(server, "not_enforced", probe)
        assert re.search(rf"ERROR\] self-probe: {probe}: not_enforced", server.log)
        assert server.request("GET", "/readyz").status == 200
    finally:
        meta = {"name": "tokenguard", "labels": saved["metadata"].get("labels", {})}
        plane.do("create", "-f", "-", stdin={**saved, "metadata": meta})
    goes_up(server, "success", probe)


@pytest.mark.covers("failure-modes: webhook configuration changed")
def test_probe_finds_that_it_cannot_be_called(installation) -> None:
    [server] = installation.replicas
    plane = installation.plane
    path = "/webhooks/0/clientConfig/url"
    saved = json.loads(plane.do("get", "validatingwebhookconfiguration", "tokenguard", "-o", "json"))
    url = saved["webhooks"][0]["clientConfig"]["url"]

    def call(url) -> None:
        patch = json.dumps([{"op": "replace", "path": path, "value": url}])
        plane.do("patch", "validatingwebhookconfiguration", "tokenguard", "--type=json", "-p", patch)

    call("https://127.0.0.1:1/validate")
    try:
        goes_up(server, "unreachable", "deny")
    finally:
        call(url)
    goes_up(server, "success", "deny")
