"""What is spoken and what isn't, found out as a scanner of TLS servers does: by real handshakes, one offer each."""

import datetime as dt
import http.client
import socket

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.pki.foreign import foreign, named
from tests.server.hello import SSL_3, TLS_1_0, TLS_1_1, TLS_1_2, say_hello
from tests.serving import raw_connection, serve

SOUND = {
    "ECDSA": [0xC02B, 0xC02C, 0xCCA9],  # ECDHE-ECDSA with AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305
    "RSA": [0xC02F, 0xC030, 0xCCA8],  # ECDHE-RSA with the same
}
UNSOUND = {
    "no encryption": [0x0001, 0x0002, 0x003B, 0xC001, 0xC006, 0xC00B, 0xC010],
    "nobody is proven": [0x0018, 0x001B, 0x0034, 0x003A, 0x006C, 0x006D, 0x00A6, 0x00A7, 0xC015, 0xC017, 0xC018],
    "export": [0x0003, 0x0006, 0x0008, 0x000B, 0x000E, 0x0011, 0x0014, 0x0062, 0x0064],
    "RC4": [0x0004, 0x0005, 0xC002, 0xC007, 0xC00C, 0xC011],
    "DES": [0x0009, 0x000C, 0x000F, 0x0012, 0x0015],
    "3DES": [0x000A, 0x000D, 0x0010, 0x0013, 0x0016, 0xC003, 0xC008, 0xC00D, 0xC012],
    "no forward secrecy": [0x002F, 0x0035, 0x003C, 0x003D, 0x009C, 0x009D, 0xC09C, 0xC09D, 0xC02D, 0xC02E, 0xC031],
    "CBC with ECDHE": [0xC009, 0xC00A, 0xC013, 0xC014, 0xC023, 0xC024, 0xC027, 0xC028],
    "CBC with DHE": [0x0033, 0x0039, 0x0067, 0x006B, 0x0032, 0x0038, 0x0040, 0x006A],
    "DHE": [0x009E, 0x009F, 0xCCAA, 0xC09E, 0xC09F],
    "Camellia, SEED, ARIA": [0x0041, 0x0045, 0x0084, 0x0088, 0x0096, 0x009A, 0xC072, 0xC073, 0xC05C, 0xC060],
}
SIGNALS = {0x00FF, 0x5600}
"""Numbers that are no suites, but say something."""


@pytest.fixture(scope="module", params=["ECDSA", "RSA"])
def tls_server(request, policy_flags, tmp_path_factory):
    """Return a server, and which suites are sound for the key of its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    flags = list(policy_flags)
    if request.param == "RSA":
        key = rsa.generate_private_key(65537, 2048)
        pair = foreign("localhost", named("localhost"), key=key, now=dt.datetime.now(dt.UTC))
        (folder / "tls.crt").write_bytes(pair.certificate)
        (folder / "tls.key").write_bytes(pair.key)
        flags += ["--tls-cert", str(folder / "tls.crt"), "--tls-key", str(folder / "tls.key"), "--bind", "localhost:0"]
    with serve(folder, *flags, verified=request.param == "ECDSA") as server:
        yield server.address, SOUND[request.param]


@pytest.mark.parametrize("version", [SSL_3, TLS_1_0, TLS_1_1], ids=["SSL 3.0", "TLS 1.0", "TLS 1.1"])
@pytest.mark.covers("failure-modes: TLS 1.1", "threat-model: TLS downgrade")
def test_old_tls_version_is_refused(tls_server, version) -> None:
    address, sound = tls_server
    old = [suite for suites in UNSOUND.values() for suite in suites]
    assert say_hello(address, version, [*sound, *old]) is None


@pytest.mark.covers("threat-model: TLS downgrade")
def test_secure_cipher_suite_is_accepted_under_tls_1_2(tls_server) -> None:
    address, sound = tls_server
    for suite in sound:
        hello = say_hello(address, TLS_1_2, [suite], compressions=b"\1\0")
        assert hello[:3] == (TLS_1_2, suite, 0)
        extensions = dict(each(hello.extensions))
        assert 35 not in extensions
        assert extensions[0xFF01] == b"\0", "a renegotiation could not be slipped in from before this handshake"


def each(extensions: bytes):
    """Yield number and content of each extension."""
    at = 2
    while at < len(extensions):
        size = int.from_bytes(extensions[at + 2 : at + 4])
        yield int.from_bytes(extensions[at : at + 2]), extensions[at + 4 : at + 4 + size]
        at += 4 + size


@pytest.mark.parametrize("suites", UNSOUND.values(), ids=UNSOUND)
@pytest.mark.covers("threat-model: TLS downgrade")
def test_insecure_cipher_suite_is_refused(tls_server, suites) -> None:
    assert say_hello(tls_server[0], TLS_1_2, suites) is None


@pytest.mark.covers("threat-model: TLS downgrade")
def test_no_other_cipher_suite_is_accepted_under_tls_1_2(tls_server) -> None:
    address, sound = tls_server
    others = [suite for suite in range(0x10000) if suite not in {*sound, *SIGNALS}]
    for at in range(0, len(others), 16384):
        assert say_hello(address, TLS_1_2, others[at : at + 16384]) is None


def test_server_chooses_the_cipher_suite(tls_server) -> None:
    address, sound = tls_server
    chosen = {say_hello(address, TLS_1_2, order).suite for order in (sound, sound[::-1])}
    assert len(chosen) == 1


def test_tls_1_3_is_used_without_session_tickets(server) -> None:
    with raw_connection(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert connection.version() == "TLSv1.3"
        assert connection.session is None or not connection.session.has_ticket


@pytest.mark.covers("failure-modes: plain HTTP")
def test_plain_http_gets_no_http_answer(server) -> None:
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


ANSWERS = {
    "a review": ("POST", "/mutate", {"Content-Type": "application/json"}, 400),
    "a page": ("GET", "/healthz", {}, 200),
    "metrics": ("GET", "/metrics", {}, 200),
    "no such page": ("GET", "/nothing", {}, 404),
    "a refused method": ("PUT", "/mutate", {}, 405),
}


def harmless(headers: http.client.HTTPMessage) -> bool:
    """Say whether by these headers no program guesses the answer's type, keeps it, or learns who made it."""
    lists = [headers.get_all(name) for name in ("X-Content-Type-Options", "Cache-Control", "Server", "X-Powered-By")]
    return lists == [["nosniff"], ["no-store"], None, None]


@pytest.mark.parametrize(("method", "path", "headers", "status"), ANSWERS.values(), ids=ANSWERS)
@pytest.mark.covers("threat-model: content sniffing")
def test_answers_have_security_headers_and_no_server_name(server, method, path, headers, status) -> None:
    reply = server.request(method, path, b"{}", headers)
    assert reply.status == status
    assert harmless(reply.headers)


@pytest.mark.covers("threat-model: content sniffing")
def test_answer_to_invalid_http_has_security_headers(server) -> None:
    with raw_connection(server) as connection:
        connection.sendall(b"GARBAGE\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
    assert response.status == 400
    assert harmless(response.headers)
