"""With --client-ca: reviews are answered only to clients with a certificate of that CA, pages to anybody."""

import contextlib
import datetime as dt
import http.client
import socket
import ssl

import pytest

from tests.pki.foreign import CLIENT, foreign
from tests.recorded_reviews import recorded
from tests.serving import JSON, PATIENCE, POST, ask, eventually, raw_connection, read_to_the_end, serve
from webhook.pki.issue import create_ca, issue_certificate

NOW = dt.datetime.now(dt.UTC)
BODY = recorded("pod-plain.pods", "mutate")
CA, OTHER_CA = create_ca(NOW), create_ca(NOW)
API_SERVER = foreign("apiserver", CLIENT, by=CA, now=NOW)
REFUSED = {
    "of another CA": foreign("apiserver", CLIENT, by=OTHER_CA, now=NOW),
    "of no CA": foreign("apiserver", CLIENT, now=NOW),
    "that has ended": foreign("apiserver", CLIENT, by=CA, now=NOW - dt.timedelta(days=100), days=90),
    "that isn't valid yet": foreign("apiserver", CLIENT, by=CA, now=NOW + dt.timedelta(days=2)),
    "that is a server's": issue_certificate(CA, ["localhost"], NOW),
}


@pytest.fixture(scope="module")
def client_ca_server(policy_flags, tmp_path_factory):
    """Return a server that answers the API server's reviews alone."""
    folder = tmp_path_factory.mktemp("wary")
    (folder / "ca.crt").write_bytes(CA.certificate)
    environment = {"TOKENGUARD_CLIENT_CA": str(folder / "ca.crt")}
    with serve(folder, *policy_flags, "--audit-level", "all", environment=environment) as server:
        yield server


def showing(server, pair, folder, *, newest=ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Return a client's context that trusts the server, and shows this certificate."""
    context = ssl.create_default_context(cafile=server.log.split("--cacert ")[1].split()[0])
    context.maximum_version = newest
    (folder / "shown.pem").write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(folder / "shown.pem")
    return context


@contextlib.contextmanager
def connected(server, context):
    with contextlib.closing(
        http.client.HTTPSConnection(server.address, context=context, timeout=PATIENCE)
    ) as connection:
        yield connection


def is_answered(server, context) -> bool:
    """Say whether a review is answered to a client of that context, over a connection of its own."""
    try:
        with connected(server, context) as connection:
            return ask(connection, "POST", "/mutate", BODY, JSON).status == 200
    except OSError:  # under TLS 1.3 a client hears only with the first answer that its certificate wasn't taken
        return False


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificate_of_the_ca_is_accepted(client_ca_server, tmp_path, newest) -> None:
    with connected(client_ca_server, showing(client_ca_server, API_SERVER, tmp_path, newest=newest)) as connection:
        for path in ("/mutate", "/validate", "/mutate"):
            reply = ask(connection, "POST", path, BODY, JSON)
            assert reply.status == 200
            assert reply.json["response"]["uid"]
        assert ask(connection, "GET", "/readyz").status == 200


@pytest.mark.parametrize("path", ["/mutate", "/validate"])
@pytest.mark.covers("threat-model: made-up reviews")
def test_review_without_client_certificate_is_refused(client_ca_server, path) -> None:
    before = len(client_ca_server.audit)
    counted = client_ca_server.metric("tokenguard_requests_refused_total", reason="no_client_certificate", status="403")
    reply = client_ca_server.request("POST", path, BODY, JSON)
    assert reply.status == 403
    assert reply.json["kind"] == "Status"
    assert "kubeConfigFile" in reply.json["message"]
    assert len(client_ca_server.audit) == before
    assert client_ca_server.metric("tokenguard_requests_refused_total", reason="no_client_certificate") == counted + 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_metrics_need_no_client_certificate(client_ca_server, path) -> None:
    assert client_ca_server.request("GET", path).status == 200


WRITTEN = {
    "another case of the method": b"post /mutate",
    "a method in mixed case": b"Post /validate",
    "a letter as its number": b"POST /%6dutate",
    "a slash as its number": b"POST %2fmutate",
    "two slashes": b"POST //mutate",
    "a slash at the end": b"POST /mutate/",
    "a dot": b"POST /./mutate",
    "through another folder": b"POST /healthz/../mutate",
    "with a query": b"POST /mutate?timeout=10s",
    "as a whole URL": b"POST https://tokenguard.tokenguard.svc/mutate",
    "with a fragment": b"POST /mutate#x",
    "by another method": b"PUT /mutate",
}


@pytest.mark.parametrize("start", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.covers("threat-model: made-up reviews")
def test_review_without_client_certificate_is_never_answered(client_ca_server, start) -> None:
    before = len(client_ca_server.audit)
    request = (POST % len(BODY)).replace(b"POST /mutate", start).replace(b"Host: a", b"Host: a\r\nConnection: close")
    for more in (b"", b"Ssl-Client-Verify: SUCCESS\r\nX-Forwarded-Client-Cert: Subject=apiserver\r\nX-Ssl-Cert: a\r\n"):
        with contextlib.closing(raw_connection(client_ca_server)) as connection:
            connection.sendall(request.replace(b"Content-Length", more + b"Content-Length") + BODY)
            answer = read_to_the_end(connection)
        assert answer.startswith(b"HTTP/1.1 4")
        assert b"AdmissionReview" not in answer
    assert len(client_ca_server.audit) == before


@pytest.mark.parametrize("pair", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.covers("threat-model: made-up reviews")
def test_client_certificate_of_another_ca_is_refused(client_ca_server, tmp_path, pair, newest) -> None:
    context = showing(client_ca_server, pair, tmp_path, newest=newest)
    assert not is_answered(client_ca_server, context)
    with (
        pytest.raises(OSError, match=r"(?i)alert|eof|reset|closed"),
        connected(client_ca_server, context) as connection,
    ):
        ask(connection, "GET", "/healthz")


def test_client_ca_is_replaced_without_a_restart(policy_flags, tmp_path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(CA.certificate)
    with serve(tmp_path / "run", *policy_flags, "--client-ca", str(file)) as server:
        folders = [tmp_path / name for name in ("first", "second")]
        for folder in folders:
            folder.mkdir()
        first = showing(server, API_SERVER, folders[0])
        second = showing(server, foreign("apiserver", CLIENT, by=OTHER_CA, now=NOW), folders[1])
        assert (is_answered(server, first), is_answered(server, second)) == (True, False)
        file.write_bytes(CA.certificate + OTHER_CA.certificate)
        eventually(lambda: is_answered(server, second))
        assert is_answered(server, first)
        file.write_bytes(OTHER_CA.certificate)
        eventually(lambda: not is_answered(server, first))
        assert is_answered(server, second)
        file.write_bytes(b"junk")
        eventually(lambda: server.metric("tokenguard_reloads_total", source="client-ca", result="rejected") == 1)
        assert f"client-ca not used: --client-ca {file}: no certificate in PEM format" in server.log
        server.replace_worker()
        assert eventually(lambda: is_answered(server, second))
        assert not is_answered(server, first)
        assert server.request("POST", "/mutate", BODY, JSON).status == 403


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.covers("threat-model: made-up reviews")
def test_resumed_tls_session_is_no_client_certificate(client_ca_server, tmp_path, newest) -> None:
    context = showing(client_ca_server, API_SERVER, tmp_path, newest=newest)
    answer, _, session = reviewed(client_ca_server, context, None)
    assert answer.startswith(b"HTTP/1.1 200")
    answer, reused, _ = reviewed(client_ca_server, context, session)
    # Under TLS 1.2 OpenSSL remembers sessions, and Python's ssl can't forbid it; under TLS 1.3 it gives none away.
    assert reused is (newest is ssl.TLSVersion.TLSv1_2)
    assert answer.startswith(b"HTTP/1.1 403" if reused else b"HTTP/1.1 200")


def reviewed(server, context, session) -> tuple[bytes, bool, ssl.SSLSession | None]:
    """Return the answer to a review over a new connection, whether its session is `session`, and which it is."""
    host, _, port = server.address.rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=PATIENCE)
    with context.wrap_socket(plain, server_hostname=host, session=session) as connection:
        connection.sendall(POST % len(BODY) + BODY)
        result = connection.recv(65536), connection.session_reused, connection.session
        connection.unwrap()  # a session that was not ended in good order is forgotten
        return result
