"""Clients that dawdle, break off, or speak something else: each is answered or let go, and reviews go on meanwhile."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from tests.recorded_reviews import recorded
from tests.server.faults.load import connections_of
from tests.serving import POST, eventually, raw_connection, read_to_the_end, serve

BODY = recorded("pod-plain.pods", "mutate")
SET = """
from webhook.server import http_protocol
{}
from webhook.cli import main
main()
"""
"""The command with other limits than it has."""
SHORTENED = SET.format("http_protocol.HANDSHAKE_SECONDS = http_protocol.HEAD_SECONDS = http_protocol.BODY_SECONDS = 2\n"
                       "http_protocol.IDLE_SECONDS = 2")  # fmt: skip
"""Two seconds in place of 10 for handshake, head and body, and of 95 for a silent connection."""


@pytest.fixture(scope="module")
def short_timeout_server(policy_flags, tmp_path_factory):
    """Return a server that waits for two seconds where it would wait for longer."""
    folder = tmp_path_factory.mktemp("impatient")
    with serve(folder, *policy_flags, module=("-c", SHORTENED)) as server:
        yield server


def plain_connection(server) -> socket.socket:
    host, port = server.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def trickle(connection, data: bytes) -> bytes:
    """Send a byte at a time, ten a second, until all are sent or the server has had enough; return what it said."""
    connection.settimeout(0.1)
    for at in range(len(data)):
        with contextlib.suppress(OSError):
            connection.sendall(data[at : at + 1])
        try:
            return connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return b""
    return b"never ended"


def is_let_go(connection) -> bool:
    connection.settimeout(20)
    try:
        return connection.recv(65536) == b""
    except OSError:
        return True


HEAD = POST % len(BODY)


@pytest.mark.parametrize("sent", [HEAD, HEAD + BODY[:100]], ids=["no body", "a part of a body"])
@pytest.mark.covers("failure-modes: slow body")
def test_body_without_end_gets_408_and_is_disconnected(short_timeout_server, sent):
    with contextlib.closing(raw_connection(short_timeout_server)) as connection:
        connection.sendall(sent)
        assert short_timeout_server.review("/mutate", BODY)["allowed"], "nobody else waits"
        answer = read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"the body did not arrive in time" in answer


@pytest.mark.covers("failure-modes: slow body")
def test_body_sent_byte_by_byte_gets_408(short_timeout_server):
    with contextlib.closing(raw_connection(short_timeout_server)) as connection:
        connection.sendall(HEAD)
        assert trickle(connection, BODY).startswith(b"HTTP/1.1 408")


@pytest.mark.covers("failure-modes: slow header")
def test_slow_or_endless_head_is_disconnected(short_timeout_server):
    with (
        contextlib.closing(raw_connection(short_timeout_server)) as dawdling,
        contextlib.closing(raw_connection(short_timeout_server)) as mute,
    ):
        mute.sendall(HEAD[:30])
        assert trickle(dawdling, HEAD) == b""
        assert is_let_go(mute)
    assert short_timeout_server.review("/mutate", BODY)["allowed"]


@pytest.mark.covers("failure-modes: silent connection")
def test_silent_connection_is_closed(short_timeout_server):
    with (
        plain_connection(short_timeout_server) as no_handshake,
        contextlib.closing(raw_connection(short_timeout_server)) as no_request,
    ):
        assert is_let_go(no_handshake)
        assert is_let_go(no_request)


@pytest.mark.covers("failure-modes: slow header")
def test_review_on_an_idle_connection_has_the_full_time(policy_flags, tmp_path):
    busy = SET.format("http_protocol.HEAD_SECONDS = http_protocol.BODY_SECONDS = 2")
    with (
        serve(tmp_path, *policy_flags, module=("-c", busy)) as server,
        contextlib.closing(raw_connection(server)) as connection,
    ):
        time.sleep(3)
        connection.sendall(HEAD + BODY[:100])
        time.sleep(0.6)
        connection.sendall(BODY[100:])
        connection.settimeout(10)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.covers("failure-modes: body too short")
def test_client_that_hangs_up_within_a_body_leaves_nothing(short_timeout_server):
    for number in range(20):
        with contextlib.closing(raw_connection(short_timeout_server)) as connection:
            connection.sendall(HEAD + BODY[: number * 10])
    eventually(lambda: not connections_of(short_timeout_server))
    assert short_timeout_server.review("/mutate", BODY)["allowed"]


@pytest.mark.covers("failure-modes: body too long")
def test_bytes_after_the_body_are_refused_as_a_request(server):
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(HEAD + BODY + b'{"more":1}\r\n\r\n')
        first, _, second = read_to_the_end(connection).partition(b"HTTP/1.1 400")
    assert first.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in second


@pytest.mark.covers("failure-modes: HTTP/1.0")
def test_http_1_0_request_is_answered_and_disconnected(server):
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + BODY)
        answer = read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.")
    assert b" 200 " in answer.splitlines()[0]
    assert b'"allowed":true' in answer


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@pytest.mark.covers("failure-modes: HTTP/2")
def test_http_2_is_not_supported(server):
    context = ssl.create_default_context()
    context.load_verify_locations(server.log.split("--cacert ")[1].split()[0])
    context.set_alpn_protocols(["h2", "http/1.1"])
    host = server.address.rsplit(":", 1)[0]
    with contextlib.closing(context.wrap_socket(plain_connection(server), server_hostname=host)) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        connection.sendall(PREFACE)
        assert read_to_the_end(connection).startswith(b"HTTP/1.1 4")


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")
@pytest.mark.covers("failure-modes: renegotiation", "threat-model: TLS downgrade")
def test_tls_renegotiation_is_refused(server):
    command = ["openssl", "s_client", "-connect", server.address, "-tls1_2"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    ) as client:
        said = b""
        while b"---\nCertificate chain" not in said or not said.rstrip().endswith(b"---"):
            said += client.stdout.read(65536)
        client.stdin.write(b"R\n")  # has s_client renegotiate
        rest, _ = client.communicate(timeout=30)
    assert b"RENEGOTIATING" in rest
    assert b"no renegotiation" in rest
    assert server.review("/mutate", BODY)["allowed"]


@pytest.mark.covers("failure-modes: Clients")
def test_misbehaving_clients_are_not_logged(short_timeout_server, server):
    time.sleep(0.1)
    for running in (short_timeout_server, server):
        assert "Traceback" not in running.log
        assert "ERROR" not in running.log
