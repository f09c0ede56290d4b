"""API servers that no command can use: they refuse all credentials, or their certificates cannot be verified."""

import base64
import contextlib
import datetime as dt
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import yaml

from webhook.pki.issue import KeyPair, create_ca, issue_certificate

_BODY = json.dumps({"kind": "Status", "status": "Failure", "message": "Unauthorized", "code": 401}).encode()


class _Unauthorized(http.server.BaseHTTPRequestHandler):
    """Answers every request as an API server answers one with an expired token or client certificate."""

    protocol_version = "HTTP/1.1"

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(401)
        self.send_header("Content-Length", str(len(_BODY)))
        self.end_headers()
        self.wfile.write(_BODY)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _refuse  # noqa: N815 - the base's names

    def log_message(self, *_args) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, _request, _client_address) -> None:
        """Ignore clients that end the handshake, as they should."""


@contextlib.contextmanager
def refusing_server(folder: Path, trusted: KeyPair, served: KeyPair) -> Iterator[Path]:
    """Serve with a certificate; yield a kubeconfig in the folder that names the server and trusts a CA."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(served.certificate)
    key.write_bytes(served.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with _Server(("127.0.0.1", 0), _Unauthorized) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        config = folder / "kubeconfig"
        authority = base64.b64encode(trusted.certificate).decode()
        cluster = {"server": f"https://127.0.0.1:{server.server_port}", "certificate-authority-data": authority}
        config.write_text(yaml.safe_dump({
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "hunter2"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }))  # fmt: skip
        try:
            yield config
        finally:
            server.shutdown()
            thread.join()


def certificates() -> dict[str, tuple[KeyPair, KeyPair]]:
    """Return for each kind of failure the CA that the client trusts, and the certificate that the server has."""
    now = dt.datetime.now(dt.UTC)
    ca, other = create_ca(now - dt.timedelta(days=2)), create_ca(now)
    day = dt.timedelta(days=1)
    return {
        "expired credentials": (ca, issue_certificate(ca, ["127.0.0.1"], now)),
        "certificate for another name": (ca, issue_certificate(ca, ["api.example.com"], now)),
        "certificate of another CA": (ca, issue_certificate(other, ["127.0.0.1"], now)),
        "expired certificate": (ca, issue_certificate(ca, ["127.0.0.1"], now - 2 * day, day)),
    }
