"""Requests to the API server in bytes, and a webhook that records the reviews."""

import base64
import contextlib
import datetime as dt
import http.server
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.control_plane.plane import ControlPlane
from webhook.pki.issue import create_self_signed


def post(plane: ControlPlane, path: str, body: bytes, content_type: str = "application/json") -> tuple[int, Any]:
    """Send bytes as they are, as the admin; return the status and what was answered."""
    token = (plane.folder / "tokens.csv").read_text().partition(",")[0]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type, "Accept": "application/json"}
    request = urllib.request.Request(f"{plane.url}{path}", body, headers)
    trust = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
    try:
        with urllib.request.urlopen(request, context=trust, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextlib.contextmanager
def recorder(folder: Path) -> Iterator[tuple[str, str, list[bytes]]]:
    """Run a webhook that allows everything: yield its address, its CA in base64, and the bodies as they come."""
    made = create_self_signed(("127.0.0.1",), dt.datetime.now(dt.UTC))
    pem = folder / "recorder.pem"
    pem.write_bytes(made.certificate + made.key)
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(body)
            review = json.loads(body)
            answer = json.dumps({
                "apiVersion": review["apiVersion"],
                "kind": review["kind"],
                "response": {"uid": review["request"]["uid"], "allowed": True},
            }).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", base64.b64encode(made.authority).decode(), bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
