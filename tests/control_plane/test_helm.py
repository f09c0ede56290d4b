"""The chart installed, upgraded, rolled back and uninstalled by helm on a real API server, while pods are created."""

import json
import subprocess

import pytest
import yaml

from tests.control_plane.installed import Installation
from tests.control_plane.nodes import RESOLVES_ENDPOINTS, Nodes, in_background, run_pod
from tests.control_plane.plane import ControlPlane, own_plane
from tests.control_plane.pod_load import PODS, pods_created, unexplained
from tests.end_to_end.cluster import POLICY, is_webhook_called, pod, prepare, reads_legacy, refusal, warnings
from tests.generated_chart import CHART
from tests.manifests.chart import HELM, is_helm_3, needs_helm
from tests.manifests.rendering import CHECKOUT
from tests.serving import eventually

pytestmark = needs_helm
NAMESPACE = "security"
CONFIGURATIONS = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
VALUES = {"policy": yaml.safe_load(POLICY)}


class Helm:
    """helm as an operator runs it, with the plane's kubeconfig."""

    def __init__(self, plane: ControlPlane, folder) -> None:
        self.plane = plane
        self._values = folder / "values.json"
        self._values.write_text(json.dumps(VALUES))
        self._home = folder / "home"

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self._home),
                       "KUBECONFIG": str(self.plane.folder / "kubeconfig")}  # fmt: skip
        command = [HELM, *arguments, "--namespace", NAMESPACE]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def do(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shown(self, command: str) -> list[str]:
        """Return the arguments of the command that docs/install.md shows; `run` adds another namespace."""
        lines = (CHECKOUT / "docs/install.md").read_text().splitlines()
        [line] = [line for line in lines if line.startswith(f"$ helm {command} ")]
        here = {"tokenguard/charts/tokenguard": str(CHART), "mine/values.yaml": str(self._values)}
        return [here.get(word, word) for word in line.split()[2:]]

    def upgrade(self, *flags: str) -> str:
        return self.do("upgrade", "tokenguard", str(CHART), "--reuse-values", *flags)


is_installed = pytest.mark.usefixtures("installation")


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    if is_helm_3():
        pytest.skip("needs Helm 4: Helm 3 waits for pods, which nothing creates here; tests/end_to_end run with both")
    with own_plane(tmp_path_factory.mktemp("helm-plane"), RESOLVES_ENDPOINTS) as running:
        running.do("create", "serviceaccount", "default", "-n", "default")
        prepare(running)
        yield running


@pytest.fixture(scope="module")
def helm(plane, tmp_path_factory):
    return Helm(plane, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def nodes(plane, tmp_path_factory):
    running = Nodes(plane, tmp_path_factory.mktemp("nodes"), NAMESPACE)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def installation(plane, helm, nodes):
    """Install by the two commands of the page; return what is installed, and what pods met meanwhile."""
    with pods_created(plane, "install", evaluated=False) as loop:
        with in_background(nodes.roll_out):
            done = helm.run(*helm.shown("install"), "--timeout", "90s")
        assert done.returncode == 0, done.stderr
        loop.more(PODS)
        before = list(loop.failures)
        helm.do(*helm.shown("upgrade"))
        eventually(lambda: is_webhook_called(plane))
        loop.more(PODS)
    upgraded = Installation(plane, nodes.servers, NAMESPACE)
    eventually(upgraded.is_trusted)
    return upgraded, before, loop.failures


def test_install_in_two_steps_fails_pods_until_the_ca_is_trusted(plane, installation) -> None:
    _, before, failures = installation
    assert before == []
    assert unexplained(failures) == []
    assert "legacy-token-reference: " in refusal(plane, pod("reads", container=reads_legacy()))


@is_installed
def test_hook_sees_that_a_pod_is_denied(plane, helm) -> None:
    with in_background(lambda: run_pod(plane, "tokenguard-test", NAMESPACE)) as ended:
        done = helm.run("test", "tokenguard", "--timeout", "60s")
    assert (done.returncode, ended[0].returncode) == (0, 0), ended[0].stdout + ended[0].stderr + done.stderr
    invalid, denied = ended[0].stdout.splitlines()[0], ended[0].stdout
    assert f"invalid policy in {NAMESPACE}: " in invalid
    assert "token-audience: " in denied
    left = plane.do("get", "roles,rolebindings,serviceaccounts", "-A", "-o", "name")
    assert "tokenguard-test" not in left


def state_of(installation):
    return installation.bundles(), installation.secret()


APPLIED = {"client-side": ["--server-side=false"], "server-side": ["--server-side=true", "--force-conflicts"]}


@pytest.mark.parametrize("side", APPLIED)
def test_upgrade_keeps_certificates_and_fails_no_pod(plane, helm, nodes, installation, side) -> None:
    running, before = installation[0], state_of(installation[0])
    with pods_created(plane, f"upgrade-{side}") as loop:
        helm.upgrade(*APPLIED[side], "--set", f"podAnnotations.applied={side}", "--set", "image.tag=0.2.0")
        nodes.roll_out()
        loop.more(PODS)
    assert loop.failures == []
    assert state_of(running) == before
    assert "image: tokenguard:0.2.0" in helm.do("get", "manifest", "tokenguard")


def test_changed_policy_and_rollback_fail_no_pod(plane, helm, installation) -> None:
    running, before = installation[0], state_of(installation[0])
    legacy = pod("legacy", container=reads_legacy())
    with pods_created(plane, "rollback", evaluated=False) as loop:
        helm.upgrade("--set", "policy.mode=warn")
        eventually(lambda: plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=legacy).returncode == 0)
        assert "Warning: legacy-token-reference: " in warnings(plane, legacy)
        loop.more(PODS)
        helm.do("rollback", "tokenguard")
        refused = pod("legacy-again", container=reads_legacy())
        eventually(lambda: plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=refused).returncode == 1)
        loop.more(PODS)
    assert loop.failures == []
    assert state_of(running) == before


def test_applied_by_another_tool_keeps_the_bundle(plane, helm, installation) -> None:
    before = state_of(installation[0])
    rendered = helm.do("get", "manifest", "tokenguard")
    done = subprocess.run(
        [plane.program, "--kubeconfig", str(plane.folder / "kubeconfig"), "apply", "--server-side", "--force-conflicts",
         "--field-manager", "gitops", "-f", "-"],
        input=rendered, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert state_of(installation[0]) == before


@is_installed
def test_failed_hook_changes_nothing(plane, helm) -> None:
    helm.upgrade("--force-conflicts", "--set", "policy.rules.token-audience=off")
    probe = pod("audience", volumes=[{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}])
    eventually(lambda: plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=probe).returncode == 0)
    with in_background(lambda: run_pod(plane, "tokenguard-test", NAMESPACE)) as ended:
        done = helm.run("test", "tokenguard", "--timeout", "60s")
    assert (done.returncode, ended[0].returncode) == (1, 1)
    with pods_created(plane, "failed-hook") as loop:
        loop.more()
    assert loop.failures == []


@is_installed
def test_uninstall_removes_the_webhooks_first_and_fails_no_pod(plane, helm, nodes) -> None:
    with pods_created(plane, "uninstall", evaluated=False) as loop:
        helm.do("uninstall", "tokenguard")
        nodes.stop()
        loop.more(PODS)
    assert loop.failures == []
    assert deleted(plane)[:2] == list(CONFIGURATIONS)
    assert named_tokenguard(plane) == []


def test_install_that_fails_leaves_no_webhook_behind(plane, helm) -> None:
    at_once = [word for word in helm.shown("install") if word not in {"--set", "webhooks.enabled=false"}]
    done = helm.run(*at_once, "--timeout", "3s", "--rollback-on-failure")
    assert done.returncode == 1
    assert named_tokenguard(plane) == []
    assert plane.kubectl("create", "-f", "-", stdin=pod("after")).returncode == 0


def deleted(plane) -> list[str]:
    """Return the resources that helm deleted of the release, in their order, by the API server's audit log."""
    events = [json.loads(line) for line in plane.audit.splitlines()]
    return [
        event["objectRef"]["resource"]
        for event in events
        if (event["verb"], event["stage"]) == ("delete", "ResponseComplete")
        and event["objectRef"].get("name") in {"tokenguard", "token-policy"}
        and "helm" in event.get("userAgent", "").lower()
    ]


def named_tokenguard(plane) -> list[str]:
    kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations,clusterroles,clusterrolebindings"
    names = plane.do("get", kinds, "-o", "name").split()
    return [name for name in names if name.endswith("/tokenguard")]
