"""Where the certificate is to come from a Secret, and isn't there yet."""

import pytest

from tests.cluster.certificates.test_manager import KUBECONFIG
from tests.serving import eventually, serve


@pytest.fixture
def waiting(judged_by, tmp_path):
    """Return a server that lacks nothing but a certificate: its API server can't be reached."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    where = ["--kubeconfig", str(tmp_path / "kubeconfig"), "--tls-secret", "tokenguard/tokenguard-tls"]
    with serve(tmp_path / "run", *judged_by, *where, verified=False, ready=False) as server:
        yield server


def test_it_is_not_ready_and_says_what_it_lacks(waiting) -> None:
    ready = waiting.request("GET", "/readyz")
    assert (ready.status, ready.json["error"]) == (503, "not ready: certificate not loaded yet")
    assert waiting.request("GET", "/healthz").status == 200
    assert waiting.metric("tokenguard_ready") == 0


def test_the_placeholders_end_is_no_certificates_end(waiting) -> None:
    exposition = waiting.request("GET", "/metrics").body.decode()
    assert "\ntokenguard_certificate_expiry_timestamp_seconds " not in exposition


def test_the_log_says_what_is_wrong_and_shows_no_key(waiting) -> None:
    eventually(lambda: "Secret tokenguard/tokenguard-tls: the API server can't be reached" in waiting.log)
    assert "PRIVATE" not in waiting.log


def test_the_log_says_what_is_served_meanwhile_and_names_no_file_that_is_of_no_use_to_anybody(waiting) -> None:
    assert "certificate: a placeholder is served until Secret tokenguard/tokenguard-tls has one\n" in waiting.log
    assert "certificate loaded" not in waiting.log
    assert "certificate.pem" not in waiting.log
    assert waiting.metric("tokenguard_reloads_total", what="certificate") == 0
