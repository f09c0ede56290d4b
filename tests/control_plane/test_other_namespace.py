"""An installation into another namespace: what it evaluates, what it leaves alone, where its objects are, its end."""

import itertools
import json
import re

import pytest

from tests.commands import run_command
from tests.control_plane.installed import installed
from tests.control_plane.plane import own_plane
from tests.control_plane.pod_load import pods_created
from tests.end_to_end.cluster import (
    POLICY,
    created,
    namespace_with,
    pod,
    policy_configmap,
    prepare,
    put_policy,
    reads_legacy,
    refusal,
    secret,
    tokens,
)
from tests.manifests.rendering import CHECKOUT, render_text
from tests.serving import eventually

OTHER = "security"
KINDS = "configmaps,secrets,leases,events,serviceaccounts,services,deployments,roles,rolebindings"


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with own_plane(tmp_path_factory.mktemp("other-namespace-plane")) as running:
        running.do("create", "serviceaccount", "default", "-n", "default")
        prepare(running)
        running.create(*namespace_with("tokenguard", "default"), secret("default-token", "tokenguard", "default"))
        yield running


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Return an operator's folder with the kustomization of an installation into another namespace."""
    folder = tmp_path_factory.mktemp("mine")
    render_text(folder, f"namespace: {OTHER}\nresources: [../tokenguard/manifests]\n")
    return folder


@pytest.fixture(scope="module")
def installation(plane, mine, tmp_path_factory):
    objects = render_text(mine, (mine / "kustomization.yaml").read_text())
    with installed(plane, tmp_path_factory.mktemp("replicas"), objects=objects) as running:
        yield running


is_installed = pytest.mark.usefixtures("installation")
probe_numbers = itertools.count()


@is_installed
def test_pods_are_patched_and_denied(plane) -> None:
    assert tokens(created(plane, pod("plain")))["kube-api-access"]["expirationSeconds"] == 3600
    assert "legacy-token-reference: " in refusal(plane, pod("reads", container=reads_legacy()))


@is_installed
def test_own_pods_are_left_alone(plane) -> None:
    spec = created(plane, pod("own", OTHER, "tokenguard", automountServiceAccountToken=True, **restricted()))
    assert tokens(spec)["kube-api-access"]["expirationSeconds"] == 3607


@is_installed
def test_own_secrets_and_token_requests_are_evaluated(plane) -> None:
    assert "legacy-token-secret: " in refusal(plane, secret("mine", OTHER, "tokenguard"))
    done = plane.kubectl("create", "token", "tokenguard", "-n", OTHER, "--duration=48h")
    assert "token-request-expiration: " in done.stderr


@is_installed
def test_default_namespace_is_like_any_other(plane) -> None:
    reads = pod("reads", "tokenguard", "default", container=reads_legacy("default-token"))
    assert "legacy-token-reference: " in refusal(plane, reads)
    invalid = policy_configmap("modee: warn\n")
    plane.do("apply", "-f", "-", stdin=invalid)
    plane.do("delete", "configmap", "token-policy", "-n", "tokenguard")


@is_installed
def test_policy_is_followed_and_checked_there(plane) -> None:
    invalid = policy_configmap(f"{POLICY}modee: warn\n", OTHER)
    assert 'unknown key "modee"' in refusal(plane, invalid | {"metadata": {**invalid["metadata"], "name": "other"}})
    put_policy(plane, f"{POLICY}mode: audit\n", OTHER)
    try:
        eventually(lambda: tokens(created(plane, probe()))["kube-api-access"]["expirationSeconds"] == 3607)
    finally:
        put_policy(plane, POLICY, OTHER)
        eventually(lambda: tokens(created(plane, probe()))["kube-api-access"]["expirationSeconds"] == 3600)


def test_certificates_are_there_and_for_the_service_there(plane, installation) -> None:
    assert installation.is_trusted()
    kubeconfig = ("--kubeconfig", str(plane.folder / "kubeconfig"))
    done = eventually(lambda: (status := certs_status(*kubeconfig)).returncode == 0 and status)
    assert f"names        tokenguard.{OTHER}.svc, " in done.stdout


def certs_status(*kubeconfig: str):
    return run_command("certs", "status", "--own-namespace", OTHER, *kubeconfig)


@is_installed
def test_scan_uses_the_policy_there(plane) -> None:
    kubeconfig = ("--kubeconfig", str(plane.folder / "kubeconfig"))
    done = run_command("scan", "--own-namespace", OTHER, *kubeconfig)
    assert f"ConfigMap {OTHER}/token-policy\n" in done.stdout, done.stderr


@is_installed
def test_nothing_of_tokenguard_is_in_the_default_namespace(plane) -> None:
    objects = json.loads(plane.do("get", KINDS, "-n", "tokenguard", "-o", "json"))["items"]
    assert {obj["metadata"]["name"] for obj in objects} <= {"default", "default-token", "kube-root-ca.crt"}
    own = json.loads(plane.do("get", KINDS, "-n", OTHER, "-o", "json"))["items"]
    assert {"tokenguard", "token-policy", "tokenguard-tls"} <= {obj["metadata"]["name"] for obj in own}


def test_removal_by_the_commands_of_the_page_fails_no_pod(plane, mine, installation) -> None:
    page = (CHECKOUT / "docs/install.md").read_text().split("### Another namespace\n")[1]
    shown = re.search(r"```console\n(.*?)```", page, re.DOTALL)[1].replace("$ ", "").replace("&& ", "\n")
    removal = [line.split()[1:] for line in shown.splitlines()]
    with pods_created(plane, "removed", evaluated=False) as loop:
        for command in removal:
            plane.do(*(str(mine) if word == "mine" else word for word in command), "--wait=false")
        for server in installation.replicas:
            server.stop()
        loop.more()
    assert loop.failures == []
    assert [command[0] for command in removal] == ["delete"] * 3
    left = plane.do("get", "clusterroles,clusterrolebindings,priorityclasses,validatingwebhookconfigurations,"
                    "mutatingwebhookconfigurations", "-o", "name")  # fmt: skip
    assert "/tokenguard" not in left
    eventually(lambda: plane.do("get", "namespace", OTHER, "-o", "jsonpath={.status.phase}") == "Terminating")


def probe():
    """Return a pod with a name of its own."""
    return pod(f"probe-{next(probe_numbers)}")


def restricted():
    """Return what Pod Security asks of a pod in tokenguard's namespace."""
    container = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
        "container": {"securityContext": container},
    }
