"""Requests as a pod makes them, to an HTTPS server with a CA and a token of its own."""

import datetime as dt
import http.server
import json
import ssl
import threading

import pytest
import urllib3

from webhook.cluster.pod_session import PodSession
from webhook.cluster.transport import ApiError, ApiRequest
from webhook.pki.issue import create_self_signed


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        seen = {"path": self.path, "token": self.headers["Authorization"], "accept": self.headers["Accept"]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({**seen, "body": body}).encode())

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a ServiceAccount's folder, for a server that answers at the address in the environment."""
    made = create_self_signed(("127.0.0.1",), dt.datetime.now(dt.UTC))
    (tmp_path / "ca.crt").write_bytes(made.authority)
    (tmp_path / "pair.pem").write_bytes(made.certificate + made.key)
    (tmp_path / "token").write_text("first")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))
        yield tmp_path
        server.shutdown()
        thread.join()


def answer(session, method="GET", path="/x", query=(), body=None):
    return json.loads(session.send(ApiRequest(method, path, dict(query), {"Accept": "a/b"}, 5.0, body)).read())


def test_request_carries_the_token_the_query_and_the_body(folder) -> None:
    session = PodSession(folder)
    seen = answer(session, "POST", "/api/v1/secrets", {"fieldSelector": "type=a/b c"}, {"message": "ü"})
    assert seen["path"] == "/api/v1/secrets?fieldSelector=type%3Da%2Fb%20c"
    assert (seen["token"], seen["accept"]) == ("Bearer first", "a/b")
    assert json.loads(seen["body"]) == {"message": "ü"}


def test_token_is_read_again_after_a_minute(folder, monkeypatch) -> None:
    session = PodSession(folder)
    answer(session)
    (folder / "token").write_text("second")
    assert answer(session)["token"] == "Bearer first"
    monkeypatch.setattr("webhook.cluster.pod_session.TOKEN_INTERVAL", 0.0)
    assert answer(session)["token"] == "Bearer second"


def test_empty_token_is_read_again(folder) -> None:
    (folder / "token").write_text("")
    session = PodSession(folder)
    with pytest.raises(ApiError, match="it is empty"):
        answer(session)
    (folder / "token").write_text("second")
    assert answer(session)["token"] == "Bearer second"


def test_server_with_another_ca_is_refused(folder) -> None:
    (folder / "ca.crt").write_bytes(create_self_signed(("127.0.0.1",), dt.datetime.now(dt.UTC)).authority)
    with pytest.raises(urllib3.exceptions.HTTPError):
        answer(PodSession(folder))


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_pod_without_token_or_ca_says_what_is_missing(folder, missing) -> None:
    (folder / missing).unlink()
    with pytest.raises(ApiError, match=missing):
        answer(PodSession(folder))


def test_ipv6_address_is_bracketed(folder, monkeypatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert PodSession(folder).host == "https://[fd00::1]:443"
