"""Which pairs of certificate and key can be served, and how they are exchanged."""

import contextlib
import datetime as dt
import re
import ssl
import threading

import pytest
from cryptography.hazmat.primitives import serialization

from tests.kubeconfigs import KUBECONFIG
from tests.serving import eventually, serve
from webhook.pki.issue import create_self_signed
from webhook.server.file_watcher import RejectedError
from webhook.server.serving_certificate import ServingCertificate
from webhook.server.state import State

NOW = dt.datetime.now(dt.UTC)
MADE, OTHER = create_self_signed([], NOW), create_self_signed([], NOW)
ENCRYPTED = serialization.load_pem_private_key(MADE.key, None).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"a")
)
NO_CERTIFICATE = "--tls-cert a.crt: no certificate in PEM format"


@pytest.fixture
def serving(tmp_path):
    return ServingCertificate(tmp_path, State(), ["--tls-cert a.crt", "--tls-key a.key"])


@pytest.mark.parametrize(
    ("certificate", "key", "error"),
    [
        pytest.param(b"", MADE.key, NO_CERTIFICATE, id="no-certificate"),
        pytest.param(MADE.certificate[:200], MADE.key, NO_CERTIFICATE, id="broken-certificate"),
        pytest.param(MADE.certificate, b"no PEM", "--tls-key a.key: no private key in PEM can be read in it",
                     id="no-key"),
        pytest.param(MADE.certificate, ENCRYPTED, "--tls-key a.key: the key is encrypted; give one without a password",
                     id="encrypted-key"),
        pytest.param(MADE.certificate, OTHER.key, "--tls-cert a.crt and --tls-key a.key don't belong together",
                     id="key-of-another"),
    ],
)  # fmt: skip
def test_pair_that_does_not_load_is_rejected_with_the_reason(serving, certificate, key, error):
    with pytest.raises(RejectedError, match=f"^{re.escape(error)}$"):
        serving.use_pair(certificate, key)


def test_pair_leaves_no_file_behind(serving, tmp_path):
    assert serving.use_pair(MADE.certificate, MADE.key) == MADE.certificate + b"\n" + MADE.key
    assert list(tmp_path.iterdir()) == []


@pytest.mark.covers("failure-modes: TLS 1.1")
def test_tls_older_than_1_2_is_not_offered(serving):
    assert serving.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert serving.context.options & ssl.OP_NO_RENEGOTIATION, "OpenSSL 3 refuses a client's by default; 1.1.1 doesn't"


@pytest.mark.covers("failure-modes: certificate rotated")
def test_no_handshake_fails_while_certificates_are_replaced(serving):
    serving.use_pair(MADE.certificate, MADE.key)
    client = ssl.create_default_context(cadata="".join(pair.authority.decode() for pair in (MADE, OTHER)))
    stop = threading.Event()

    def replace_again_and_again() -> None:
        while not stop.is_set():
            for pair in (MADE, OTHER):
                serving.use_pair(pair.certificate, pair.key)

    thread = threading.Thread(target=replace_again_and_again)
    thread.start()
    try:
        for number in range(300):
            shake_hands(client, serving.context, "localhost" if number % 2 else "127.0.0.1")
    finally:
        stop.set()
        thread.join()


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Do a TLS handshake in memory; raises if it fails. An address is sent without a server name."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, server_side=True)]
    for side in (*sides, *sides):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert sides[0].version() == "TLSv1.3"
    assert sides[0].getpeercert()


@pytest.mark.parametrize(
    ("secret", "namespace"),
    [
        pytest.param(["--tls-secret", "tokenguard/tokenguard-tls"], "tokenguard", id="namespace"),
        pytest.param(["--tls-secret", "tokenguard-tls", "--own-namespace", "security"], "security", id="own namespace"),
    ],
)
def test_server_without_a_certificate_is_not_ready_and_says_why(policy_flags, tmp_path, secret, namespace) -> None:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    flags = ["--kubeconfig", str(tmp_path / "kubeconfig"), *secret]
    with serve(tmp_path / "run", *policy_flags, *flags, verified=False, ready=False) as server:
        ready = server.request("GET", "/readyz")
        assert (ready.status, ready.json["error"]) == (503, "not ready: certificate not loaded yet")
        assert server.request("GET", "/healthz").status == 200
        assert server.metric("tokenguard_ready") == 0
        assert server.metric("tokenguard_reloads_total", source="certificate") == 0
        assert f"certificate: serving a placeholder until Secret {namespace}/tokenguard-tls contains" in server.log
        eventually(
            lambda: (
                f"Secret {namespace}/tokenguard-tls: the connection to the server 127.0.0.1:1 was refused" in server.log
            )
        )
        for text in ("PRIVATE", "certificate loaded", "certificate.pem"):
            assert text not in server.log
