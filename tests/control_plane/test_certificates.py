"""A real API server accepts and rejects the certificates of tests/pki as `certs status` predicts."""

import base64
import contextlib
import datetime as dt
import http.server
import json
import ssl
import threading
from collections.abc import Iterator

import pytest

from tests.pki.foreign import NAME, Case, cases
from tests.serving import eventually

CASES = cases(dt.datetime.now(dt.UTC))


class Yes(http.server.BaseHTTPRequestHandler):
    """Allows every request, with a warning."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        response = {"uid": review["request"]["uid"], "allowed": True, "warnings": ["webhook called"]}
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args) -> None:
        """Say nothing of clients that break off: that is what is looked at."""


@contextlib.contextmanager
def served(case: Case, folder) -> Iterator[int]:
    """Serve as the case says, and return the port."""
    (folder / "pair.pem").write_bytes(case.served + case.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    with Server(("127.0.0.1", 0), Yes) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def called(plane, case: Case, port: int) -> Iterator[None]:
    """Have the API server ask that port about every ConfigMap labelled `asks: please`."""
    plane.do("apply", "-f", "-", stdin={
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "certificates"},
        "webhooks": [{
            "name": "certificates.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "objectSelector": {"matchLabels": {"asks": "please"}},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"],
            }],
            "clientConfig": {
                "url": f"https://{NAME}:{port}/", "caBundle": base64.b64encode(case.bundle).decode(),
            },
        }],
    })  # fmt: skip
    try:
        yield
    finally:
        plane.do("delete", "validatingwebhookconfiguration", "certificates")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.covers("threat-model: fake tokenguard")
def test_api_server_accepts_and_rejects_chains_as_the_verifier(plane, tmp_path, case) -> None:
    configmap = {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": "default", "labels": {"asks": "please"}},
    }  # fmt: skip

    def answer() -> str:
        done = plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=configmap)
        return done.stderr if "webhook called" in done.stderr or "certificates.example.com" in done.stderr else ""

    with served(case, tmp_path) as port, called(plane, case, port):
        message = eventually(answer)
    assert ("webhook called" in message) == case.is_accepted_by_go, message
    assert ("x509: " in message) == (not case.is_accepted_by_go), message
