"""An outage of all replicas with the overlay `availability-first`.

Pods are created at once, CEL enforces the rules, and the next background scan reports the pods that slipped through.
"""

import datetime as dt
import re
import statistics
import time
from collections.abc import Callable

import pytest

from tests.control_plane.exported import Client, serves_mutating_policies
from tests.control_plane.installed import WEBHOOKS, installed
from tests.control_plane.live import account_kubeconfig
from tests.control_plane.plane import own_plane
from tests.control_plane.report_kinds import definitions
from tests.control_plane.scan_job import admissions, reports, run_job
from tests.end_to_end.cluster import namespace_with, secret
from tests.manifests.rendering import render_text, the
from tests.serving import eventually
from webhook.scan.pod_admission import SETTLING
from webhook.scan.report_api import WG_POLICY

OVERLAY = """\
resources: [../tokenguard/manifests/overlays/availability-first]
components:
- ../tokenguard/manifests/components/exclude-namespaces
- ../tokenguard/manifests/components/background-scan
configMapGenerator:
- name: excluded-namespaces
  literals: ["namespaces=spared"]
  options: {annotations: {config.kubernetes.io/local-config: "true"}}
"""
POLICY_KINDS = ("mutatingadmissionpolicies", "validatingadmissionpolicies")
CREATIONS = 30
DAY = 86400
CONTAINERS = [{"name": "app", "image": "app"}]
PLAIN = {"metadata": {"name": "plain"}, "spec": {"containers": CONTAINERS}}
TIMED = {**PLAIN, "metadata": {"generateName": "timed-"}}
READER = {
    "metadata": {"name": "reader"},
    "spec": {"containers": [{"name": "app", "image": "app", "envFrom": [{"secretRef": {"name": "legacy"}}]}]},
}


def long(name: str) -> dict:
    token = {"path": "t", "audience": "https://a.example.com", "expirationSeconds": DAY}
    volumes = [{"name": "t", "projected": {"sources": [{"serviceAccountToken": token}]}}]
    return {"metadata": {"name": name}, "spec": {"containers": CONTAINERS, "volumes": volumes}}


def lifetimes(pod: dict) -> list[int]:
    """Return the lifetimes of the tokens of a pod."""
    sources = [source for volume in pod["spec"]["volumes"] for source in volume["projected"]["sources"]]
    return [source["serviceAccountToken"]["expirationSeconds"] for source in sources if "serviceAccountToken" in source]


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with own_plane(tmp_path_factory.mktemp("outage-plane")) as running:
        running.create(*namespace_with("demo", "default"), *namespace_with("spared", "default"))
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "default"},
        }
        running.create(account, secret("legacy", "demo", "default"), *definitions(WG_POLICY))
        yield running


@pytest.fixture
def admin(plane):
    with Client(plane) as client:
        yield client


@pytest.fixture(params=["vap", "vap+map"])
def outage(request, plane, tmp_path):
    """Return the mode of an installation whose replicas are all killed, and the kubeconfig of its scanner."""
    mode = request.param
    if mode == "vap+map" and not serves_mutating_policies(plane):
        pytest.skip("needs MutatingAdmissionPolicies of admissionregistration.k8s.io/v1: Kubernetes 1.36")
    objects = render_text(tmp_path, OVERLAY)
    [container] = the("Deployment", objects)["spec"]["template"]["spec"]["containers"]
    [variable] = [entry for entry in container["env"] if entry["name"] == "TOKENGUARD_BACKSTOP"]
    variable["value"] = mode
    with installed(plane, tmp_path, 2, objects) as installation:
        for server in installation.replicas:
            eventually(lambda server=server: server.metric("tokenguard_backstop_in_sync") == 1)
        scanner = account_kubeconfig(plane, tmp_path / "scanner", account="tokenguard-scanner")
        for server in installation.replicas:
            server.kill()
        yield mode, scanner
    plane.kubectl("delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "tokenguard")
    for kind in POLICY_KINDS:
        for name in (kind, f"{kind.removesuffix('ies')}ybindings"):
            plane.kubectl("delete", name, "-l", "app.kubernetes.io/managed-by=tokenguard")
    plane.do("delete", "pods", "-A", "--all", "--grace-period=0", "--force")


def create(admin, namespace: str, pod: dict, query: str = "") -> tuple[int, dict]:
    status, answer, _ = admin.ask("POST", f"/api/v1/namespaces/{namespace}/pods{query}", pod)
    return status, answer


def wait_until_enforced(admin) -> None:
    """Wait until the API server enforces the exported policies."""
    volume = {"name": "h", "hostPath": {"path": "/"}}
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": CONTAINERS, "volumes": [volume]}}
    eventually(lambda: admin.ask("POST", "/api/v1/namespaces/demo/pods?dryRun=All", pod)[2])


def creation_time(admin) -> float:
    """Return how many milliseconds it takes to create a pod, as the median of several by dry run."""
    times = []
    for _ in range(CREATIONS):
        began = time.perf_counter()
        assert create(admin, "demo", TIMED, "?dryRun=All")[0] == 201
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def webhook_calls(plane) -> tuple[float, float]:
    """Return how often the webhooks for pods failed open, and the seconds that the API server spent on calling them."""
    text = plane.do("get", "--raw", "/metrics")

    def total(metric: str) -> float:
        samples = re.findall(rf'^apiserver_admission_webhook_{metric}{{.*name="pods\..*}} (\S+)$', text, re.MULTILINE)
        return sum(map(float, samples))

    return total("fail_open_count"), total("admission_duration_seconds_sum")


def calls_during(plane, action: Callable[[], object]) -> float:
    before, _ = webhook_calls(plane)
    action()
    return webhook_calls(plane)[0] - before


@pytest.mark.covers("failure-modes: no replica with the backstop")
def test_outage_creates_pods_at_once_and_enforces_the_export(plane, admin, outage) -> None:
    mode, scanner = outage
    wait_until_enforced(admin)
    _, configuration = plane.ask("GET", f"{WEBHOOKS}/validatingwebhookconfigurations/tokenguard")
    installed_at = dt.datetime.fromisoformat(configuration["metadata"]["creationTimestamp"])
    settled = installed_at + SETTLING + dt.timedelta(seconds=1)
    time.sleep(max(0.0, (settled - dt.datetime.now(dt.UTC)).total_seconds()))  # a scan is sure only of later pods

    before = webhook_calls(plane)
    in_outage = creation_time(admin)
    failed, waited = (after - then for after, then in zip(webhook_calls(plane), before, strict=True))
    assert failed == 2 * CREATIONS, "both webhooks were called for each pod, and failed open"
    timeout = min(webhook["timeoutSeconds"] for webhook in configuration["webhooks"])
    assert waited < timeout, "in all calls together, so none of them waited for a timeout"

    slipped = {"reader"}
    assert create(admin, "demo", READER)[0] == 201, "CEL cannot see the type of the Secret"
    status, answer = create(admin, "demo", long("long"))
    plain, made = create(admin, "demo", PLAIN)
    assert plain == 201
    if mode == "vap":
        assert status == 403
        assert "token-expiration: spec.volumes[0].projected.sources[0] has lifetime 86400s" in answer["message"]
        assert lifetimes(made) == [3607]
        slipped.add("plain")
    else:
        assert (status, lifetimes(answer), lifetimes(made)) == (201, [3600, 3600], [3600])
    assert create(admin, "spared", long("spared"))[0] == 201, "the webhook configuration excludes the namespace"
    assert "failed calling webhook" in plane.kubectl("create", "token", "default", "-n", "demo").stderr

    run_job(scanner)
    by_namespace = reports(plane, WG_POLICY)
    assert admissions(by_namespace["demo"]) == dict.fromkeys(slipped, "not-evaluated")
    assert admissions(by_namespace["spared"]) == {"spared": "excluded"}
    plane.do("delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "tokenguard")
    eventually(lambda: not calls_during(plane, lambda: create(admin, "demo", TIMED, "?dryRun=All")))
    without = creation_time(admin)
    print(  # noqa: T201 - the result
        f"\n{mode}: without any replica, a pod takes {in_outage:.1f} ms (median of {CREATIONS}), without a webhook"
        f" {without:.1f} ms: a ratio of {in_outage / without:.2f}; {failed:.0f} calls failed in {waited * 1000:.0f} ms"
    )
