"""A real API server with its etcd, on the loopback, for as long as the tests need it."""

import contextlib
import datetime as dt
import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.end_to_end.cluster import Cluster
from tests.serving import eventually
from webhook.pki.issue import create_self_signed

PLACES = (os.environ.get("KUBEBUILDER_ASSETS"), "/usr/local/kubebuilder/bin")
NEEDED = ("etcd", "kube-apiserver", "kubectl")
HINT = (
    f"needs {', '.join(NEEDED)} in $KUBEBUILDER_ASSETS or {PLACES[1]}; get them with setup-envtest: "
    "go run sigs.k8s.io/controller-runtime/tools/setup-envtest@latest use -p path"
)
AUDIT_POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}


def find_binaries() -> Path | None:
    """Return the folder that holds all that is needed, or None."""
    folders = [Path(path) for path in PLACES if path]
    return next((folder for folder in folders if all((folder / name).exists() for name in NEEDED)), None)


@dataclass
class ControlPlane(Cluster):
    """The running API server, spoken to as its admin."""

    binaries: Path
    url: str
    etcd: str
    _command: list[str]
    started: list[dt.datetime] = field(default_factory=list)
    _process: "subprocess.Popen[bytes] | None" = None
    _controllers: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the API server, and wait until it is ready."""
        self.started.append(dt.datetime.now(dt.UTC))
        self._process = _start(self.binaries, self.folder, self._command)
        eventually(lambda: _is_ready(self._process, self.url, self.folder), patience=90)

    @property
    def has_controllers(self) -> bool:
        """Whether there is a kube-controller-manager to run."""
        return (self.binaries / "kube-controller-manager").exists()

    def start_controllers(self, *flags: str) -> None:
        """Start kube-controller-manager beside it, where there is one; `flags` are more for it."""
        if self.has_controllers:
            self._controllers = _start(self.binaries, self.folder, [
                "kube-controller-manager",
                f"--kubeconfig={self.folder}/controllers.kubeconfig",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={free_ports(1)[0]}",
                f"--cert-dir={self.folder}/controllers",
                f"--root-ca-file={self.folder}/ca.crt",
                f"--service-account-private-key-file={self.folder}/accounts.key",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                "--node-startup-grace-period=24h",  # no kubelet reports; after this a DaemonSet gets no pod any more
                "--node-monitor-grace-period=24h",
                *flags,
            ])  # fmt: skip

    def stop_controllers(self) -> None:
        """End kube-controller-manager, so that it can be started with other flags."""
        if self._controllers:
            _kill(self._controllers)

    def kill(self) -> None:
        """End the API server as a power cut would."""
        if self._process:
            _kill(self._process)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request as the admin without kubectl, which takes 20 times the CPU; return status and answer."""
        trust = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        connection = http.client.HTTPSConnection(self.url.removeprefix("https://"), context=trust, timeout=60)
        headers = {"Authorization": f"Bearer {_admin_token(self.folder)}", "Content-Type": "application/json"}
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if body else None, headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())

    @property
    def version(self) -> tuple[int, int]:
        """The major and minor version of the API server."""
        _, served = self.ask("GET", "/version")
        return int(served["major"]), int(served["minor"].rstrip("+"))

    def compact(self) -> None:
        """Have etcd forget all but the present."""
        said = self.ask_etcd("range", {"key": "AA=="})
        self.ask_etcd("compaction", {"revision": said["header"]["revision"]})

    def ask_etcd(self, what: str, request: dict[str, Any]) -> Any:
        """Send etcd's gateway a request; keys and values in it are base64."""
        sent = urllib.request.Request(f"{self.etcd}/v3/kv/{what}", json.dumps(request).encode())
        with urllib.request.urlopen(sent, timeout=30) as reply:
            return json.load(reply)

    @property
    def audit(self) -> str:
        """The API server's own audit log."""
        return (self.folder / "audit.log").read_text()


@contextlib.contextmanager
def control_plane(binaries: Path, folder: Path, *flags: str) -> Iterator[ControlPlane]:
    """Run etcd and kube-apiserver until the end of the block; `flags` are more for the latter."""
    client, peer, api = free_ports(3)
    token = secrets.token_hex(16)
    _write_keys(folder)
    users = (token, "admin"), (secrets.token_hex(16), "system:kube-controller-manager")
    (folder / "tokens.csv").write_text("".join(f"{token},{user},{user},system:masters\n" for token, user in users))
    (folder / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
    url = f"https://127.0.0.1:{api}"
    for name, (token, _) in zip(("kubeconfig", "controllers.kubeconfig"), users, strict=True):
        _write_kubeconfig(folder / name, url, token)
    etcd = [
        "etcd",
        "--unsafe-no-fsync",
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]
    apiserver = [
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{client}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={api}",
        f"--tls-cert-file={folder}/api.crt",
        f"--tls-private-key-file={folder}/api.key",
        f"--cert-dir={folder}/certs",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/accounts.pub",
        f"--service-account-signing-key-file={folder}/accounts.key",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=RBAC,Node",
        "--allow-privileged=true",
        f"--audit-policy-file={folder}/audit-policy.yaml",
        f"--audit-log-path={folder}/audit.log",
        *flags,
    ]
    plane = ControlPlane(str(binaries / "kubectl"), folder, binaries, url, f"http://127.0.0.1:{client}", apiserver)
    database = _start(binaries, folder, etcd)
    try:
        eventually(lambda: _is_etcd_healthy(database, plane.etcd, folder))
        plane.start()
        yield plane
    finally:
        for process in (plane._controllers, plane._process, database):
            if process:
                _kill(process)  # an orderly end takes seconds, and nothing of it is needed any more


def _start(binaries: Path, folder: Path, command: list[str]) -> "subprocess.Popen[bytes]":
    with (folder / f"{command[0]}.log").open("ab") as log:
        return subprocess.Popen([str(binaries / command[0]), *command[1:]], stdout=log, stderr=log)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def _admin_token(folder: Path) -> str:
    return (folder / "tokens.csv").read_text().partition(",")[0]


def _is_etcd_healthy(process: "subprocess.Popen[bytes]", url: str, folder: Path) -> bool:
    assert process.poll() is None, (folder / "etcd.log").read_text()[-3000:]
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
        return reply.status == 200
    time.sleep(0.1)
    return False


def _is_ready(process: "subprocess.Popen[bytes]", url: str, folder: Path) -> bool:
    assert process.poll() is None, (folder / "kube-apiserver.log").read_text()[-3000:]
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {_admin_token(folder)}"})
    trust = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    with contextlib.suppress(OSError), urllib.request.urlopen(request, context=trust, timeout=5) as reply:
        return reply.status == 200
    time.sleep(0.1)
    return False


def _write_keys(folder: Path) -> None:
    made = create_self_signed(("kubernetes.default.svc", "10.0.0.1"), dt.datetime.now(dt.UTC))
    (folder / "api.crt").write_bytes(made.certificate)
    (folder / "api.key").write_bytes(made.key)
    (folder / "ca.crt").write_bytes(made.authority)
    key = rsa.generate_private_key(65537, 2048)
    pem = serialization.Encoding.PEM
    (folder / "accounts.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "accounts.pub").write_bytes(
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _write_kubeconfig(file: Path, url: str, token: str) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": str(file.parent / "ca.crt")}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "demo"}}],
        "current-context": "x",
    }
    file.write_text(yaml.safe_dump(config))


def free_ports(count: int) -> list[int]:
    """Return ports below those of outgoing connections (32768 and more), one of which could take a port meanwhile."""
    ports: set[int] = set()
    while len(ports) < count:
        port = 10_000 + secrets.randbelow(22_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.add(port)
    return list(ports)


@contextlib.contextmanager
def own_plane(folder: Path, *flags: str) -> Iterator[ControlPlane]:
    """Run a control plane for a module or a test of its own; skip that where the binaries aren't found."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip(HINT)
    with control_plane(binaries, folder, *flags) as running:
        yield running
    shutil.rmtree(folder / "etcd", ignore_errors=True)  # it is large, and of no use afterwards
