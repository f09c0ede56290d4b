"""The manifests on a real API server: accepted, applied twice, and what works while tokenguard is down."""

import base64
import copy
import json
import subprocess

import pytest

from tests.control_plane.plane import own_plane
from tests.end_to_end.cluster import namespace_with
from tests.manifests.rendering import CHECKOUT, INSTALLATIONS, MONITORING, is_custom, render, render_text, the
from tests.serving import eventually

INSTALL = ("apply", "-k", str(CHECKOUT / "manifests"))
LEFT_OUT = ("-l", "app.kubernetes.io/component!=webhooks")
CONFIGURATIONS = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
NODE = ("--as", "system:node:n1", "--as-group", "system:nodes", "--as-group", "system:masters")
KUBE_SYSTEM = ("--as", "system:serviceaccount:kube-system:operator", "--as-group", "system:masters")
CREATE = ("create", "-f", "-")
TOKEN = ("create", "token", "default")
DEBUG = json.dumps({"spec": {"ephemeralContainers": [{"name": "debug", "image": "app"}]}})
ATTACH = ("patch", "pod", "early", "--subresource=ephemeralcontainers", "-p", DEBUG)


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    """Return a control plane of this module's own, with some pods and accounts and then the whole installation."""
    with own_plane(tmp_path_factory.mktemp("manifests-plane")) as running:
        running.do("create", "namespace", "demo")
        for namespace in ("demo", "kube-system"):
            running.do("create", "serviceaccount", "default", "-n", namespace)
            running.do("create", "-f", "-", stdin=pod("early", namespace=namespace))
        done = running.kubectl(*INSTALL)
        assert (done.returncode, done.stderr) == (0, "")
        yield running


@pytest.fixture
def waits_for(plane):
    """Return a function that names the webhook that a request fails for ("": none) while nothing answers."""

    def waits_for(*arguments, **given):
        done = plane.kubectl(*arguments, **given)
        if done.returncode == 0:
            return ""
        assert "failed calling webhook" in done.stderr, done.stderr
        return done.stderr.split('failed calling webhook "')[1].split('"')[0]

    plane.do("delete", "service", "tokenguard", "-n", "tokenguard")
    eventually(lambda: "not found" in plane.kubectl("create", "-f", "-", stdin=pod("probe")).stderr)
    yield waits_for
    plane.do(*INSTALL)


def pod(name, namespace="demo", **metadata):
    meta = {"name": name, "namespace": namespace, **metadata}
    spec = {"containers": [{"name": "app", "image": "app"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def mirror_pod(name):
    manifest = pod(name, annotations={"kubernetes.io/config.mirror": "0f1e2d3c"})
    manifest["spec"]["nodeName"] = "n1"
    return manifest


def secret(name, kind):
    meta = {"name": name, "namespace": "demo", "annotations": {"kubernetes.io/service-account.name": "default"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta} | ({"type": kind} if kind else {})


def versions(plane):
    listed = json.loads(plane.do("get", "-k", str(CHECKOUT / "manifests"), "-o", "json"))["items"]
    return {(line["kind"], line["metadata"]["name"]): line["metadata"]["resourceVersion"] for line in listed}


def of_deployment(folder, name):
    template = copy.deepcopy(the("Deployment", render(folder))["spec"]["template"])
    meta = {"name": name, "namespace": "tokenguard", "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_api_server_accepts_each_installation(plane, folder) -> None:
    items = [obj for obj in render(folder) if not is_custom(obj)]
    every = {"apiVersion": "v1", "kind": "List", "items": items}
    done = plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=every)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(items) >= 15


def test_api_server_accepts_the_dashboard_config_map(plane) -> None:
    [dashboard] = [obj for obj in render(MONITORING) if not is_custom(obj)]
    done = plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=dashboard)
    assert (done.stdout, done.stderr) == ("configmap/tokenguard-dashboard created (server dry run)\n", "")


def test_webhook_configurations_are_applied_last_mutating_first(plane) -> None:
    events = [json.loads(line) for line in plane.audit.splitlines()]
    made = [
        event["objectRef"]["resource"]
        for event in events
        if event["verb"] == "create" and event["objectRef"].get("name") in {"tokenguard", "token-policy"}
    ]
    assert made[0] == "namespaces"
    assert made[: len(render(INSTALLATIONS[0]))][-2:] == CONFIGURATIONS


def test_label_selects_all_but_the_webhook_configurations(plane) -> None:
    every = plane.do(*INSTALL, "--dry-run=server", "-o", "name").split()
    rest = plane.do(*INSTALL, *LEFT_OUT, "--dry-run=server", "-o", "name").split()
    assert {name.split(".")[0] + "s" for name in set(every) - set(rest)} == set(CONFIGURATIONS)


def test_apply_again_changes_nothing(plane) -> None:
    before = versions(plane)
    done = plane.kubectl(*INSTALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert versions(plane) == before
    assert len(before) == 17


def replicas(plane):
    return int(plane.do("get", "deployment", "tokenguard", "-n", "tokenguard", "-o", "jsonpath={.spec.replicas}"))


def test_apply_keeps_the_number_of_the_autoscaler(plane) -> None:
    plane.do("scale", "deployment", "tokenguard", "-n", "tokenguard", "--replicas=4")
    plane.do(*INSTALL)
    assert replicas(plane) == 4


def test_upgrade_from_a_fixed_number_keeps_the_number(plane) -> None:
    former = copy.deepcopy(the("Deployment", render("manifests")))
    former["spec"]["replicas"] = 2
    plane.do("apply", "-f", "-", stdin=former)
    plane.do("scale", "deployment", "tokenguard", "-n", "tokenguard", "--replicas=4")
    page = (CHECKOUT / "docs/install.md").read_text()
    [command] = [line[2:] for line in page.splitlines() if "set-last-applied" in line]
    kubectl = f"{plane.program} --kubeconfig {plane.folder / 'kubeconfig'}"
    subprocess.run(["bash", "-o", "pipefail", "-c", command.replace("kubectl", kubectl)], check=True)
    plane.do(*INSTALL)
    assert replicas(plane) == 4


def test_excluded_namespace_works_without_replicas(plane, waits_for, tmp_path) -> None:
    plane.create(*namespace_with("excluded", "default"))
    objects = render_text(tmp_path, (
        "resources: [../tokenguard/manifests]\n"
        "components: [../tokenguard/manifests/components/exclude-namespaces]\n"
        'configMapGenerator: [{name: excluded-namespaces, literals: ["namespaces=other,excluded"],'
        ' options: {annotations: {config.kubernetes.io/local-config: "true"}}}]\n'
    ))  # fmt: skip
    configurations = [obj for obj in objects if obj["kind"].endswith("WebhookConfiguration")]
    plane.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": configurations})
    eventually(lambda: waits_for(*CREATE, "--dry-run=server", stdin=pod("late", namespace="excluded")) == "")
    assert waits_for(*TOKEN, "-n", "excluded") == ""
    assert waits_for(*CREATE, stdin=pod("late-too")) == "pods.validate.tokenguard.svc"


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client", "server"])
@pytest.mark.parametrize("folder", [INSTALLATIONS[0], INSTALLATIONS[2]])
def test_ca_bundle_survives_an_apply(plane, folder, how) -> None:
    bundle = base64.b64encode((plane.folder / "ca.crt").read_bytes()).decode()
    for kind in CONFIGURATIONS:
        put_in = [
            {"op": "add", "path": f"/webhooks/{number}/clientConfig/caBundle", "value": bundle}
            for number, _ in enumerate(bundles(plane, kind))
        ]
        plane.do("patch", kind, "tokenguard", "--type=json", "-p", json.dumps(put_in))
    plane.do("apply", *how, "-k", str(CHECKOUT / folder))
    assert [set(bundles(plane, kind)) for kind in CONFIGURATIONS] == [{bundle}, {bundle}]


def bundles(plane, kind):
    configuration = json.loads(plane.do("get", kind, "tokenguard", "-o", "json"))
    return [webhook["clientConfig"].get("caBundle") for webhook in configuration["webhooks"]]


@pytest.mark.parametrize("folder", INSTALLATIONS)
@pytest.mark.covers("threat-model: container escape")
def test_pod_security_restricted_admits_the_pods(plane, folder) -> None:
    fit = of_deployment(folder, f"fit-{INSTALLATIONS.index(folder)}")
    done = plane.kubectl("create", "-f", "-", stdin=fit)
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(plane.do("get", "pod", fit["metadata"]["name"], "-n", "tokenguard", "-o", "json"))["spec"]
    assert {volume["name"] for volume in made["volumes"]} == {volume["name"] for volume in fit["spec"]["volumes"]}
    assert made["priority"] == the("PriorityClass", render(folder))["value"]


def test_pod_security_restricted_rejects_a_root_pod(plane) -> None:
    unfit = of_deployment(INSTALLATIONS[0], "unfit")
    unfit["spec"]["securityContext"].pop("runAsNonRoot")
    done = plane.kubectl("create", "-f", "-", stdin=unfit)
    assert 'violates PodSecurity "restricted:v1.30": runAsNonRoot' in done.stderr


def test_objects_that_must_be_evaluated_fail_without_replicas(waits_for) -> None:
    assert waits_for(*CREATE, stdin=pod("late")) == "pods.validate.tokenguard.svc"
    assert waits_for(*CREATE, *NODE, stdin=pod("of-a-node")) == "pods.validate.tokenguard.svc"
    assert waits_for(*CREATE, stdin=mirror_pod("a-users")) == "pods.validate.tokenguard.svc"
    assert waits_for(*ATTACH, "-n", "demo") == "pods.validate.tokenguard.svc"
    legacy = secret("legacy", "kubernetes.io/service-account-token")
    assert waits_for(*CREATE, stdin=legacy) == "secrets.validate.tokenguard.svc"
    assert waits_for(*TOKEN, "-n", "demo") == "tokens.validate.tokenguard.svc"


def test_what_the_cluster_needs_works_without_replicas(waits_for) -> None:
    assert waits_for(*CREATE, stdin=pod("late", namespace="kube-system")) == ""
    assert waits_for(*CREATE, stdin=of_deployment(INSTALLATIONS[0], "successor")) == ""
    assert waits_for(*CREATE, *NODE, stdin=mirror_pod("a-nodes")) == ""
    assert waits_for(*ATTACH, "-n", "kube-system") == ""
    assert waits_for(*CREATE, stdin=secret("plain", "")) == ""
    assert waits_for(*CREATE, stdin=secret("odd", "example.com/odd")) == ""
    assert waits_for(*TOKEN, *NODE, "-n", "demo") == ""
    assert waits_for(*TOKEN, *KUBE_SYSTEM, "-n", "demo") == ""
    assert waits_for(*TOKEN, "-n", "kube-system") == ""


def test_policy_and_workloads_can_be_written_without_replicas(waits_for) -> None:
    change = json.dumps({"data": {"policy.yaml": "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"}})
    assert waits_for("patch", "configmap", "token-policy", "-n", "tokenguard", "-p", change) == ""
    deployment = copy.deepcopy(the("Deployment", render(INSTALLATIONS[0])))
    deployment["metadata"]["namespace"] = "demo"
    assert waits_for(*CREATE, stdin=deployment) == ""
    assert waits_for("create", "serviceaccount", "new", "-n", "demo") == ""
