"""After the kustomization is gone: the chart installed, tested, upgraded, rolled back and uninstalled by helm."""

import json
import os
import subprocess

import pytest
import yaml

from tests.control_plane.pod_load import pods_created
from tests.end_to_end.cluster import POLICY, is_webhook_called, pod, reads_legacy, refusal
from tests.end_to_end.operator import image_parts
from tests.end_to_end.running import MINUTES, NOT_TRUSTED_YET, PODS
from tests.generated_chart import CHART
from tests.manifests.chart import HELM, needs_helm
from tests.serving import eventually

pytestmark = needs_helm


def values_of(image: str) -> dict[str, str]:
    """Return the chart's values for an image."""
    name, tag, digest = image_parts(image)
    registry, _, repository = name.rpartition("/")
    return {"registry": registry, "repository": repository, "tag": tag, "digest": digest}


class Helm:
    """helm with the cluster's kubeconfig, in the namespace tokenguard."""

    def __init__(self, cluster) -> None:
        self._folder = cluster.folder
        self.values = cluster.folder / "values.json"
        self.values.write_text(json.dumps({"policy": yaml.safe_load(POLICY), "image": values_of(cluster.image)}))

    def do(self, *arguments: str) -> str:
        environment = os.environ | {"KUBECONFIG": str(self._folder / "kubeconfig"), "HOME": str(self._folder / "home")}
        command = [HELM, *arguments, "--namespace", "tokenguard"]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=5 * MINUTES, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def helm(cluster):
    """Install the chart by the two commands of docs/install.md; return helm and what denied pods meanwhile."""
    cluster.uninstall()
    eventually(lambda: "tokenguard" not in cluster.existing(), patience=3 * MINUTES)
    helm = Helm(cluster)
    with pods_created(cluster, "helm-install", evaluated=False) as loop:
        values = ("tokenguard", str(CHART), "-f", str(helm.values))
        helm.do("install", *values, "--create-namespace", "--set", "webhooks.enabled=false", "--wait")
        before = list(loop.failures)
        helm.do("upgrade", *values)
        eventually(lambda: is_webhook_called(cluster), patience=2 * MINUTES)
        loop.reach(PODS)
    assert before == []
    yield helm, loop.failures
    helm.do("uninstall", "tokenguard", "--ignore-not-found")
    cluster.do("delete", "namespace", "tokenguard")


def test_helm_install_denies_pods_until_the_ca_is_trusted_only(cluster, helm) -> None:
    assert [failure for failure in helm[1] if NOT_TRUSTED_YET not in failure] == []
    assert "legacy-token-reference: " in refusal(cluster, pod("reads", container=reads_legacy()))


def test_helm_test_hook_sees_that_a_pod_is_denied(helm) -> None:
    assert "token-audience: " in helm[0].do("test", "tokenguard", "--logs", "--timeout", "2m")


def test_helm_upgrade_and_rollback_fail_no_pod(cluster, helm) -> None:
    image = os.environ.get("TOKENGUARD_E2E_NEXT_IMAGE")
    if not image:
        pytest.skip("needs a second image: make e2e NEXT_IMAGE=...")
    with pods_created(cluster, "helm-upgrade") as loop:
        values = ("--reuse-values", "--set-json", f"image={json.dumps(values_of(image))}")
        helm[0].do("upgrade", "tokenguard", str(CHART), *values, "--wait")
        upgraded = {*cluster.replicas().values()}
        loop.reach(PODS)
        helm[0].do("rollback", "tokenguard", "--wait")
        loop.reach(2 * PODS)
    assert loop.failures == []
    assert upgraded == {image}
    assert {*cluster.replicas().values()} == {cluster.image}


def test_helm_uninstall_fails_no_pod(cluster, helm) -> None:
    with pods_created(cluster, "helm-uninstall", evaluated=False) as loop:
        helm[0].do("uninstall", "tokenguard")
        eventually(lambda: not cluster.replicas(), patience=2 * MINUTES)
        loop.reach(PODS)
    assert loop.failures == []
