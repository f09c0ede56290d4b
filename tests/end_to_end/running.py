"""A cluster that runs pods, by $KUBECONFIG, with tokenguard installed from its manifests and an image that exists."""

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.control_plane.pod_load import pods_created
from tests.end_to_end.cluster import NAMESPACES, Cluster, Object, is_webhook_called, prepare
from tests.end_to_end.operator import INSTALL, UNINSTALL, run_commands, shown_commands, write_kustomization
from tests.manifests.rendering import find_kubectl
from tests.serving import eventually

MINUTES = 60
PODS = 500
"""Pods that are created while each step goes on."""
ROLLOUT = ("rollout", "status", "-n", "tokenguard", "deployment/tokenguard", "--timeout=50s")
NOT_TRUSTED_YET = "x509: certificate signed by unknown authority"
"""What denies a pod between `kubectl apply` of the webhooks and the moment when tokenguard has written its CA there."""


@dataclass
class RunningCluster(Cluster):
    """A cluster with nodes; `proxy` is the address of a `kubectl proxy`."""

    image: str = ""
    proxy: str = ""
    failed_by_install: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request through the proxy, which takes less CPU than a kubectl; return status and answer."""
        with closing(http.client.HTTPConnection(self.proxy, timeout=60)) as connection:
            content = json.dumps(body) if body else None
            connection.request(method, path, content, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            text = reply.read().decode()
            is_json = reply.getheader("Content-Type") == "application/json"
            return reply.status, json.loads(text) if is_json else {"message": text}

    def wait_for_rollout(self) -> None:
        """Wait until every replica of the Deployment's present template is ready, and no other is left."""
        eventually(lambda: self.kubectl(*ROLLOUT).returncode == 0, patience=5 * MINUTES)

    def items(self, *what: str) -> list[Object]:
        """Return what `kubectl get` finds."""
        items: list[Object] = json.loads(self.do("get", *what, "-o", "json"))["items"]
        return items

    def pods(self) -> list[Object]:
        """Return tokenguard's pods that are not being deleted."""
        pods = self.items("pods", "-n", "tokenguard", "-l", "app.kubernetes.io/name=tokenguard")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def replicas(self) -> dict[str, str]:
        """Return the names of these pods, with their image."""
        return {item["metadata"]["name"]: item["spec"]["containers"][0]["image"] for item in self.pods()}

    def metric(self, name: str, **labels: str) -> list[float]:
        """Return the sum over all samples of a metric that have these labels, of each replica."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        values = []
        for replica in self.replicas():
            _, answer = self.ask("GET", metrics_path(replica))
            samples = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", answer["message"], re.MULTILINE)
            values.append(sum(float(value) for of, value in samples if wanted <= set(of.split(","))))
        return values

    def install(self, image: str, base: str = "manifests", components: Sequence[str] = ()) -> None:
        """Install by the three commands of docs/install.md, with an image of any name."""
        write_kustomization(self, image, base=base, components=components)
        run_commands(self, shown_commands(INSTALL))
        eventually(lambda: is_webhook_called(self), patience=2 * MINUTES)

    def uninstall(self) -> None:
        """Remove tokenguard by the command of docs/install.md."""
        write_kustomization(self, self.image)
        run_commands(self, shown_commands(UNINSTALL))

    def remove(self) -> None:
        """Remove tokenguard, and all that `prepare` created."""
        self.uninstall()
        self.do("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--wait=false")
        eventually(lambda: not self.existing(), patience=5 * MINUTES)

    def existing(self) -> set[str]:
        """Return those of the namespaces that tests create which are there."""
        return {*NAMESPACES, "tokenguard", "security"} & {item["metadata"]["name"] for item in self.items("namespaces")}


def metrics_path(replica: str) -> str:
    """Return the path of a replica's metrics, by the API server's proxy to pods."""
    return f"/api/v1/namespaces/tokenguard/pods/https:{replica}:8443/proxy/metrics"


def _is_ready(node: Object) -> bool:
    conditions = {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}
    return conditions["Ready"] == "True"


@contextmanager
def running_cluster(folder: Path) -> Iterator[RunningCluster]:
    """Give the cluster of $KUBECONFIG; skip the test if there is none that can run pods."""
    image, kubectl = os.environ.get("TOKENGUARD_E2E_IMAGE"), find_kubectl()
    if not (image and kubectl and os.environ.get("KUBECONFIG")):
        pytest.skip("needs kubectl and a cluster that can run pods: make e2e KUBECONFIG=... IMAGE=...")
    config = [kubectl, "config", "view", "--raw", "--flatten", "--minify"]
    (folder / "kubeconfig").write_text(subprocess.run(config, capture_output=True, text=True, check=True).stdout)
    proxy = [kubectl, "--kubeconfig", str(folder / "kubeconfig"), "proxy", "--port=0"]
    with subprocess.Popen(proxy, stdout=subprocess.PIPE, text=True) as process:
        try:
            [address] = re.findall(r"127\.0\.0\.1:\d+", process.stdout.readline() if process.stdout else "")
            cluster = RunningCluster(kubectl, folder, image, address)
            if not any(_is_ready(node) for node in cluster.items("nodes")):
                pytest.skip("needs a node that is ready")
            yield cluster
        finally:
            process.terminate()


@contextmanager
def installed_in(cluster: RunningCluster) -> Iterator[RunningCluster]:
    """Install tokenguard while pods are created, and remove it afterwards."""
    taken = cluster.existing()
    assert not taken, f"the cluster has namespaces that these tests create and delete: {', '.join(sorted(taken))}"
    try:
        prepare(cluster)
        with pods_created(cluster, "install", evaluated=False) as loop:
            cluster.install(cluster.image)
            loop.more()
        cluster.failed_by_install = loop.failures
        yield cluster
    finally:
        cluster.remove()
        shutil.rmtree(cluster.folder / "cache", ignore_errors=True)
