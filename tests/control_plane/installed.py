"""tokenguard installed from its own manifests, as its own ServiceAccount, with a process in each pod's place."""

import base64
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_command
from tests.control_plane.live import account_kubeconfig
from tests.control_plane.plane import ControlPlane
from tests.end_to_end.cluster import Object, is_webhook_called, put_policy
from tests.manifests.rendering import environment_of_process, render, the
from tests.serving import Server, eventually, serve

KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"


@dataclass
class Installation:
    """The running replicas. The mutating webhook is answered by the first, the validating one by the last."""

    plane: ControlPlane
    replicas: list[Server]
    namespace: str = "tokenguard"

    def bundles(self) -> set[str | None]:
        """Return the caBundles in both configurations, in base64."""
        configurations = [self.plane.ask("GET", f"{WEBHOOKS}/{kind.lower()}s/tokenguard")[1] for kind in KINDS]
        return {
            webhook["clientConfig"].get("caBundle")
            for configuration in configurations
            for webhook in configuration["webhooks"]
        }

    def secret(self) -> dict[str, bytes]:
        """Return what the TLS Secret holds."""
        _, secret = self.plane.ask("GET", f"/api/v1/namespaces/{self.namespace}/secrets/tokenguard-tls")
        return {name: base64.b64decode(content) for name, content in secret["data"].items()}

    def is_trusted(self) -> bool:
        """Say whether both configurations hold the Secret's CAs."""
        return self.bundles() == {base64.b64encode(self.secret()["ca.crt"]).decode()}


def settings(objects: list[Object]) -> dict[str, str]:
    """Return the environment in the Deployment, without what only a pod has."""
    deployment = the("Deployment", objects)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["serve"]
    return environment_of_process(deployment)


@contextlib.contextmanager
def replica(plane: ControlPlane, folder: Path, environment: dict[str, str], *flags: str) -> Iterator[Server]:
    """Run one replica as the manifests' ServiceAccount."""
    kubeconfig = account_kubeconfig(plane, folder, namespace=environment["TOKENGUARD_OWN_NAMESPACE"])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOKENGUARD_")}
    made = ("--tls-san", "127.0.0.1") if "TOKENGUARD_MANAGE_CERTS" in environment else ()
    more = ("--kubeconfig", str(kubeconfig), *made, "--audit-level", "all", *flags)
    with serve(folder, *more, verified=False, env=inherited | environment) as server:
        yield server


def as_in_a_pod(plane: ControlPlane, folder: Path, account: str = "tokenguard") -> tuple[list[str], dict[str, str]]:
    """Return what to start a process by, and its environment, so that it finds the API server as in a pod.

    There is no kubeconfig there: the address is in the environment, token and CA are in files, here in a mount
    namespace.
    """
    mounted = "/var/run/secrets/kubernetes.io/serviceaccount"
    (folder / "token").write_text(plane.do("create", "token", account, "-n", "tokenguard").strip())
    (folder / "ca.crt").write_bytes((plane.folder / "ca.crt").read_bytes())
    script = f'mount -t tmpfs none /var/run && mkdir -p {mounted} && cp "$0"/token "$0"/ca.crt {mounted} && exec "$@"'
    wrap = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, str(folder)]
    tried = subprocess.run([*wrap, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs the right to make a mount namespace: {tried.stderr.strip()}")
    host, _, port = plane.url.removeprefix("https://").partition(":")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOKENGUARD_")}
    return wrap, inherited | {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}


def at(configuration: Object, server: Server) -> Object:
    """Return a webhook configuration that calls a process on the loopback in place of the Service."""
    changed: Any = json.loads(json.dumps(configuration))
    for webhook in changed["webhooks"]:
        path = webhook["clientConfig"].pop("service")["path"]
        webhook["clientConfig"]["url"] = f"https://{server.address}{path}"
    return changed


@contextlib.contextmanager
def installed(
    plane: ControlPlane, folder: Path, replicas: int = 2, objects: list[Object] | None = None, *flags: str
) -> Iterator[Installation]:
    """Install rendered manifests, run the replicas, and wait until the API server asks them.

    `objects` are by default what `kubectl kustomize manifests` renders; `flags` are more for the replicas.
    """
    objects = objects or render("manifests")
    configurations = [the(kind, objects) for kind in KINDS]
    rest = [obj for obj in objects if obj not in configurations]
    plane.do("apply", "-f", "-", stdin=rest[0])
    plane.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": rest[1:]})
    namespace = rest[0]["metadata"]["name"]
    put_policy(plane, namespace=namespace)
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(replica(plane, folder / f"replica-{number}", settings(objects), *flags))
            for number in range(replicas)
        ]
        for configuration, server in zip(configurations, (servers[0], servers[-1]), strict=True):
            plane.do("apply", "-f", "-", stdin=at(configuration, server))
        installation = Installation(plane, servers, namespace)
        eventually(installation.is_trusted)
        eventually(lambda: is_webhook_called(plane))
        yield installation


def certs(plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a `tokenguard certs` command as the cluster's admin."""
    return run_command("certs", *arguments, "--kubeconfig", str(plane.folder / "kubeconfig"))
