"""`--backstop` on a real API server, with the rights of its component: applied, repaired, in step, and removed."""

import datetime as dt
import time

import pytest
import yaml

from tests.commands import run_command
from tests.control_plane.conftest import clients, configuration, rule
from tests.control_plane.exported import ADMISSION, Client, serves_mutating_policies
from tests.control_plane.plane import own_plane
from tests.policies import HEAD
from tests.serving import eventually, serve
from webhook.cluster.api_client import ApiClient
from webhook.cluster.backstop import Backstop, BackstopMode, backstop_state
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.server.state import Snapshot

RIGHTS = "manifests/components/backstop/rights/cluster-role.yaml"
SUBPATH = f"{ADMISSION}/validatingadmissionpolicies/tokenguard-token-subpath"
BINDING = f"{ADMISSION}/validatingadmissionpolicybindings/tokenguard-token-audience-deny"
TOKEN = {"path": "t", "audience": "a", "expirationSeconds": 86400}
CONTAINERS = [{"name": "app", "image": "app"}]
PLAIN = {"metadata": {"name": "plain"}, "spec": {"containers": CONTAINERS}}
LONG = {
    "metadata": {"name": "long"},
    "spec": {
        "containers": CONTAINERS,
        "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": TOKEN}]}}],
    },
}
LEGACY = {
    "type": "kubernetes.io/service-account-token",
    "metadata": {"name": "legacy", "annotations": {"kubernetes.io/service-account.name": "default"}},
}
READER = {
    "metadata": {"name": "reader"},
    "spec": {"containers": [{"name": "app", "image": "app", "envFrom": [{"secretRef": {"name": "legacy"}}]}]},
}
PODS = "/api/v1/namespaces/demo/pods"


def snapshot(text: str) -> Snapshot:
    policy = read_policy(f"{HEAD}{text}".encode())
    assert isinstance(policy, Policy)
    return Snapshot(policy, ClusterState())


@pytest.fixture(scope="module")
def plane(tmp_path_factory, request):
    with own_plane(tmp_path_factory.mktemp("backstop-plane")) as running:
        for name in ("tokenguard", "demo"):
            running.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": namespaces(name)})
        running.do("apply", "-f", str(request.config.rootpath / RIGHTS))
        yield running


def namespaces(name: str) -> list[dict]:
    account = "tokenguard" if name == "tokenguard" else "default"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}},
    ]


@pytest.fixture
def admin(plane):
    with Client(plane) as client:
        yield client


@pytest.fixture(scope="module")
def kubeconfig(plane, tmp_path_factory):
    """Return the kubeconfig of tokenguard's own account."""
    config = yaml.safe_load((plane.folder / "kubeconfig").read_text())
    token = plane.do("create", "token", "tokenguard", "-n", "tokenguard").strip()
    config["users"][0]["user"] = {"token": token}
    file = tmp_path_factory.mktemp("account") / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture
def backstop(kubeconfig, tmp_path):
    """Return what makes a backstop of a mode, and its transport."""
    transport = ApiClient(kubeconfig, tmp_path)

    def of(mode: BackstopMode) -> Backstop:
        return Backstop(
            lambda: None, lambda _: None, tmp_path, kubeconfig=kubeconfig, mode=mode, own_namespace="tokenguard"
        )

    yield of, transport
    of(BackstopMode.OFF).reconcile(snapshot(""))
    assert backstop_state(transport).mode is BackstopMode.OFF


def test_backstop_follows_the_policy_with_its_own_rights_alone(admin, backstop) -> None:
    of, transport = backstop
    running, first = of(BackstopMode.VAP), snapshot("")
    assert running.reconcile(first) == 18
    assert running.reconcile(first) == 0, "what was applied reads as it was written"
    state = backstop_state(transport)
    assert (state.mode, list(state.problems(first.policy.revision))) == (BackstopMode.VAP, [])
    _, found, _ = admin.ask("GET", f"{SUBPATH}-warn")
    assert [entry["manager"] for entry in found["metadata"]["managedFields"]] == ["tokenguard-backstop"]

    second = snapshot("rules: {token-subpath: reject}")
    assert list(backstop_state(transport).problems(second.policy.revision))
    running.reconcile(second)
    assert not list(backstop_state(transport).problems(second.policy.revision))
    assert admin.ask("GET", f"{SUBPATH}-warn")[0] == 404
    assert admin.ask("GET", f"{SUBPATH}-deny")[0] == 200


@pytest.mark.covers("failure-modes: exported policy edited")
def test_backstop_repairs_what_somebody_edits_adds_or_deletes(admin, backstop) -> None:
    of, transport = backstop
    running, policy = of(BackstopMode.VAP), snapshot("")
    running.reconcile(policy)
    _, found, _ = admin.ask("GET", BINDING)
    found["spec"]["validationActions"] = ["Warn"]
    assert admin.ask("PUT", BINDING, found)[0] == 200
    _, found, _ = admin.ask("GET", f"{SUBPATH}-warn")
    found["spec"]["matchConditions"].append({"name": "never", "expression": "false"})
    assert admin.ask("PUT", f"{SUBPATH}-warn", found)[0] == 200
    assert admin.ask("DELETE", f"{ADMISSION}/validatingadmissionpolicies/tokenguard-inject-deny")[0] == 200
    state = backstop_state(transport)
    assert set(state.edited) == {"tokenguard-token-audience-deny", "tokenguard-token-subpath-warn"}
    assert state.missing == 1
    assert running.reconcile(policy) == 3
    assert not list(backstop_state(transport).problems(policy.policy.revision))


def test_backstop_with_patches_omits_expired_exemptions(plane, admin, backstop) -> None:
    if not serves_mutating_policies(plane):
        pytest.skip("needs MutatingAdmissionPolicies of admissionregistration.k8s.io/v1: Kubernetes 1.36")
    of, transport = backstop
    ended = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    policy = snapshot(f"exemptions: [{{rules: ['*'], namespaces: [demo], reason: r, until: {ended}}}]")
    of(BackstopMode.MAP).reconcile(policy)
    assert backstop_state(transport).mode is BackstopMode.MAP
    assert "variables.exempt" not in str(admin.ask("GET", f"{SUBPATH}-warn")[1]["spec"])


def test_backstop_may_not_touch_other_admission_policies(plane, kubeconfig) -> None:
    other = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding"}
    body = {**other, "metadata": {"name": "other"}, "spec": {"policyName": "other", "validationActions": ["Audit"]}}
    done = plane.kubectl("--kubeconfig", str(kubeconfig), "apply", "--server-side", "-f", "-", stdin=body)
    assert "forbidden" in done.stderr.lower()


@pytest.mark.covers("failure-modes: no replica with the backstop")
def test_outage_with_backstop_creates_pods_denies_long_tokens(plane, admin, kubeconfig, tmp_path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(HEAD)
    objects = tmp_path / "objects.yaml"
    objects.write_text("")
    flags = ["--policy", str(policy), "--objects", str(objects), "--kubeconfig", str(kubeconfig), "--backstop", "vap"]
    # until the API server knows that the policies of the test before are gone
    eventually(lambda: admin.ask("POST", "/api/v1/namespaces/demo/secrets", LEGACY)[0] in {201, 409})
    with serve(tmp_path / "run", *flags) as server:
        webhook = {
            "name": "pods.validate.tokenguard.svc", "clientConfig": clients(server, "/validate"),
            "rules": [rule("", ["pods"], ["CREATE"])], "failurePolicy": "Ignore",
        }  # fmt: skip
        plane.do("apply", "-f", "-", stdin=configuration("ValidatingWebhookConfiguration", webhook))
        eventually(lambda: admin.ask("POST", f"{PODS}?dryRun=All", LONG)[0] == 403)
        eventually(lambda: server.metric("tokenguard_backstop_in_sync") == 1)
        eventually(lambda: "AdmissionPolicy" in admin.ask("POST", f"{PODS}?dryRun=All", LONG)[1]["message"])
    began = time.monotonic()  # nobody listens at the webhook's address any more
    status, created, _ = admin.ask("POST", PODS, PLAIN)
    assert status == 201, created
    refused, answer, _ = admin.ask("POST", PODS, LONG)
    elapsed = time.monotonic() - began
    assert refused == 403
    assert "token-expiration: spec.volumes[0].projected.sources[0] has lifetime 86400s" in answer["message"]
    assert "ValidatingAdmissionPolicy 'tokenguard-token-expiration-deny'" in answer["message"]
    assert admin.ask("POST", PODS, READER)[0] == 201, "CEL cannot see the type of the Secret"
    scanned = run_command("scan", "--kubeconfig", str(plane.folder / "kubeconfig"), "--namespace", "demo")
    assert scanned.returncode == 1
    assert 'reads the long-lived token in Secret "legacy"' in scanned.stdout
    print(f"\nwithout any replica, two pods took {elapsed * 1000:.0f} ms")  # noqa: T201 - the result
    plane.do("delete", "validatingwebhookconfiguration", "tokenguard")
    plane.do("delete", "pod", "plain", "reader", "-n", "demo", "--grace-period=0", "--force")
