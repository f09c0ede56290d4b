"""The real server, started as a user would start it, for tests that talk to it over HTTPS."""

import contextlib
import errno
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

PATIENCE = 60.0
"""Seconds until a test gives up; many times what an idle machine needs, because a busy one may take as long."""
JSON = {"Content-Type": "application/json"}
POST = b"POST /mutate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
"""The head of a request; takes the length of its body."""
POLICY = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
inject:
- name: vault
  audience: https://vault.example.com
  expirationSeconds: 1800
  mountPath: /var/run/secrets/tokens/vault
  env: VAULT_TOKEN_PATH
"""
OBJECTS = """\
apiVersion: v1
kind: Namespace
metadata: {name: demo, labels: {team: payments}}
---
apiVersion: v1
kind: Secret
metadata: {name: app-token, namespace: demo, annotations: {kubernetes.io/service-account.name: app}}
type: kubernetes.io/service-account-token
---
apiVersion: v1
kind: Secret
metadata: {name: robot-token, namespace: demo, annotations: {kubernetes.io/service-account.name: robot}}
type: kubernetes.io/service-account-token
---
apiVersion: v1
kind: Secret
metadata: {name: database, namespace: demo}
type: Opaque
"""
T = TypeVar("T")


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server; `folder` holds its log and its audit log."""

    process: subprocess.Popen[bytes]
    folder: Path
    address: str
    context: ssl.SSLContext

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.address, context=self.context, timeout=PATIENCE)

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        with contextlib.closing(self.connect()) as connection:
            return ask(connection, method, path, body, headers)

    def review(self, path: str, body: bytes) -> dict[str, Any]:
        """Send a review and return the `response` in the answer."""
        reply = self.request("POST", path, body, JSON)
        assert reply.status == 200, reply
        answer = reply.json
        assert (answer["kind"], answer["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
        return answer["response"]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "audit").read_bytes().splitlines()]

    @property
    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum over all samples of a metric that have these labels."""
        text = self.request("GET", "/metrics").body.decode()
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        samples = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for own, value in samples if wanted <= set(own.split(",")))

    def replace_worker(self) -> None:
        """Kill the worker, and wait until there is another."""
        [worker] = self.workers
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: self.workers not in ([], [worker]))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the worker and the master, which would kill a worker that hangs for 30 s; both go on after the block."""
        processes = [*self.workers, self.process.pid]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)
                eventually(lambda: _answers(self, ready=False))

    def kill(self) -> None:
        """Kill the server and its worker, which would go on for a moment, and wait until nobody listens."""
        for pid in (self.process.pid, *self.workers):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        host, port = self.address.rsplit(":", 1)

        def refuses() -> bool:
            with socket.socket() as client:
                return client.connect_ex((host, int(port))) == errno.ECONNREFUSED

        eventually(refuses)

    def stop(self) -> int:
        """Stop the server by its process id, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def ask(
    connection: http.client.HTTPSConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return Reply(response.status, response.headers, response.read())


def raw_connection(server: Server) -> ssl.SSLSocket:
    host, port = server.address.rsplit(":", 1)
    plain = socket.create_connection((host, int(port)), timeout=20)
    return server.context.wrap_socket(plain, server_hostname=host)


def read_to_the_end(connection: ssl.SSLSocket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def patch_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON Patch in a review's response; none where it has none."""
    if "patch" not in response:
        return []
    assert response["patchType"] == "JSONPatch"
    return json.loads(b64decode(response["patch"], validate=True))


def eventually(probe: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """Return what `probe` returns as soon as it is true; fail where it never is."""
    deadline = time.monotonic() + patience
    while not (result := probe()):
        assert time.monotonic() < deadline, f"never came true: {probe}"
        time.sleep(0.02)
    return result


@contextlib.contextmanager
def serve(
    folder: Path,
    *flags: str,
    ready: bool = True,
    verified: bool = True,
    wrap: Sequence[str] = (),
    module: Sequence[str] = ("-m", "webhook"),
    bind: Sequence[str] = ("--bind", "127.0.0.1:0"),
    environment: Mapping[str, str] | None = None,
    **popen: Any,
) -> Iterator[Server]:
    """Run `tokenguard serve` on a free port; `ready` waits until it is.

    `wrap` is a command that runs another, `module` what Python runs, and `environment` is added to the tests' own.

    Unless the flags say which, it makes a certificate of its own. Where that is in a Secret, `verified` is false: it is
    for the API server to trust, and for the tests' own requests not to mind.
    """
    folder.mkdir(exist_ok=True)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TOKENGUARD_")}
    inherited |= environment or {}
    tls = () if "--tls-cert" in flags or not verified else ("--tls-self-signed",)
    command = [*wrap, sys.executable, *module, "serve", *bind, *tls, *flags]
    with (folder / "log").open("wb") as log, (folder / "audit").open("wb") as audit:
        process = subprocess.Popen(command, **{"env": inherited, "stdout": audit, "stderr": log} | popen)
    server = Server(process, folder, "", ssl.create_default_context() if verified else _unverified())
    try:
        server.address = eventually(lambda: _found(server, r"serving on https://([^\s\"]+)"))
        if verified:
            made = _found(server, r"--cacert ([^\s\"]+)")
            server.context.load_verify_locations(made or flags[flags.index("--tls-cert") + 1])
        eventually(lambda: _answers(server, ready=ready))
        eventually(lambda: len(server.workers) == 1)
        yield server
    except BaseException:
        print(server.log[-5000:])  # noqa: T201 - pytest shows it with what failed
        raise
    finally:
        try:
            server.stop()
        finally:
            process.kill()
            process.wait()


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _found(server: Server, pattern: str) -> str:
    assert server.process.poll() is None, server.log
    match = re.search(pattern, server.log)
    return match[1] if match else ""


def _answers(server: Server, *, ready: bool) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        reply = server.request("GET", "/readyz")
        return reply.status == 200 if ready else reply.status > 0
    return False
