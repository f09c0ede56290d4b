"""In the place of controllers, nodes and their network: processes for the pods of tokenguard, found by its Service.

The API server resolves Services by their EndpointSlices, an older one by Endpoints (`--enable-aggregator-routing`).
It takes no loopback address in them, so the processes listen on an address of this machine.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.control_plane.installed import replica
from tests.control_plane.plane import ControlPlane
from tests.end_to_end.cluster import Object
from tests.manifests.rendering import environment_of_process
from tests.serving import Server, eventually

RESOLVES_ENDPOINTS = "--enable-aggregator-routing=true"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def machine_address() -> str:
    """Return an address of this machine that isn't the loopback; skip the test where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the kernel chooses the address
        except OSError:
            pytest.skip("needs an address besides the loopback")
        address: str = probe.getsockname()[0]
        return address


@dataclass
class Nodes:
    """Runs the replicas that the Deployment in a namespace asks for."""

    plane: ControlPlane
    folder: Path
    namespace: str = "tokenguard"
    replicas: int = 2
    servers: list[Server] = field(default_factory=list)
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _rollouts: int = 0

    def roll_out(self) -> None:
        """Start the replicas, have the Service lead to them, report them as ready, and stop the former ones."""
        self._get("deployments", "apps/v1")
        scale = ("scale", "deployment", "tokenguard", "-n", self.namespace, f"--replicas={self.replicas}")
        self.plane.do(*scale)  # as the autoscaler does
        deployment = self._get("deployments", "apps/v1")
        environment = environment_of_process(deployment)
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        former, self._running, self.servers = self._running, contextlib.ExitStack(), []
        self._rollouts += 1
        for number in range(self.replicas):
            run = self.folder / f"{self._rollouts}-{number}"
            flags = ("--bind", f"{machine_address()}:0", *container["args"][1:])
            self.servers.append(self._running.enter_context(replica(self.plane, run, environment, *flags)))
        self._publish()
        self._report(deployment)
        former.close()

    def _publish(self) -> None:
        addresses = [server.address.rpartition(":")[::2] for server in self.servers]
        ports = [[{"name": "https", "port": int(port), "protocol": "TCP"}] for _, port in addresses]
        labels = {"kubernetes.io/service-name": "tokenguard"}
        slices: list[Object] = [
            {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": f"tokenguard-{number}", "namespace": self.namespace, "labels": labels},
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}}], "ports": ports[number],
            }
            for number, (address, _) in enumerate(addresses)
        ]  # fmt: skip
        endpoints = {
            "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "tokenguard", "namespace": self.namespace},
            "subsets": [{"addresses": [{"ip": address}], "ports": ports[number]}
                        for number, (address, _) in enumerate(addresses)],
        }  # fmt: skip
        self.plane.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": [*slices, endpoints]})

    def _report(self, deployment: Object) -> None:
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), self.replicas)
        reasons = {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
        conditions = [{"type": name, "status": "True", "reason": reason} for name, reason in reasons.items()]
        status = {**counts, "observedGeneration": deployment["metadata"]["generation"], "conditions": conditions}
        self.plane.do("patch", "deployment", "tokenguard", "-n", self.namespace, "--subresource=status",
                      "--type=merge", "-p", json.dumps({"status": status}))  # fmt: skip

    def _get(self, resource: str, version: str) -> Object:
        path = f"/apis/{version}/namespaces/{self.namespace}/{resource}/tokenguard"
        status, obj = eventually(lambda: (reply := self.plane.ask("GET", path))[0] == 200 and reply)
        assert status == 200
        return obj

    def stop(self) -> None:
        """Stop the replicas."""
        self._running.close()


def run_pod(plane: ControlPlane, name: str, namespace: str) -> "subprocess.CompletedProcess[str]":
    """Wait for a pod, run its one container as a process, and report how it ended."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"

    def waiting() -> Object | None:
        status, pod = plane.ask("GET", path)
        return pod if status == 200 and pod["status"]["phase"] == "Pending" else None

    pod = eventually(waiting)
    [container] = pod["spec"]["containers"]
    token = plane.do("create", "token", pod["spec"]["serviceAccountName"], "-n", namespace).strip()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "token").write_text(token)
        Path(folder, "ca.crt").write_bytes((plane.folder / "ca.crt").read_bytes())
        program = [sys.executable if word == "python" else word for word in container["command"]]
        mount = f'mount -t tmpfs none /var/run && mkdir -p {ACCOUNT} && cp "$0"/* {ACCOUNT} && exec "$@"'
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, folder, *program, *container["args"]]
        host, _, port = plane.url.removeprefix("https://").partition(":")
        variables = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    state: dict[str, Any] = {"terminated": {"exitCode": done.returncode}}
    status = {
        "phase": "Failed" if done.returncode else "Succeeded",
        "containerStatuses": [{"name": container["name"], "state": state, "ready": False, "restartCount": 0,
                               "image": container["image"], "imageID": ""}],
    }  # fmt: skip
    plane.do("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p",
             json.dumps({"status": status}))  # fmt: skip
    return done


@contextlib.contextmanager
def in_background(run: Any) -> Any:
    """Run a function beside the block, and wait for its end; yields a list that gets what it returns."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    try:
        yield results
    finally:
        thread.join()
