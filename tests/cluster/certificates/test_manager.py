"""What keeps the certificate of a replica: its start, its stop, and what its successor finds."""

import base64
import datetime as dt
import threading

import pytest

from tests.cluster.certificates.api import CONFIGURATIONS, SECRETS, Api
from tests.kubeconfigs import KUBECONFIG
from tests.serving import eventually
from webhook.cluster.certificates.manager import CertificateManager
from webhook.cluster.certificates.reconciler import IDLE
from webhook.cluster.certificates.tls_secret import TlsSecret
from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import SERVING_LIFETIME, create_ca, issue_certificate
from webhook.pki.rotation import StoredCertificates

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


def manager(tmp_path, serving=lambda: "fingerprint", *, manage=True) -> CertificateManager:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    return CertificateManager(
        tmp_path, serving, kubeconfig=tmp_path / "kubeconfig", secret="tokenguard/tokenguard-tls",
        names=["a.example.com"], manage=manage,
    )  # fmt: skip


def served_by(tmp_path) -> str:
    """Return the fingerprint of what a server serves that follows the file."""
    file = tmp_path / "certificate.pem"
    return parse_certificates(file.read_bytes())[0].fingerprint if file.exists() else ""


def test_worker_starts_and_logs_why_without_an_api_server(tmp_path, caplog) -> None:
    worker = manager(tmp_path)
    worker.start()
    worker.stop()
    assert "Secret tokenguard/tokenguard-tls: the connection to the server " in caplog.text


@pytest.fixture
def api(monkeypatch) -> Api:
    """Return the API server that a keeper made from now on speaks to, with nothing in it but the configurations."""
    made = Api()
    made.install()
    monkeypatch.setattr("webhook.cluster.certificates.manager.ApiClient", lambda *_: made)
    return made


@pytest.fixture
def running(api, tmp_path):
    """Return a keeper that has made all that there has to be, and takes its time until the next look."""
    worker, delays = manager(tmp_path, lambda: served_by(tmp_path)), []
    look = worker._reconciler.reconcile
    worker._reconciler.reconcile = lambda: delays.append(look()) or delays[-1]
    worker.start()
    eventually(lambda: delays[-1:] == [IDLE] and all(api.bundles()))
    yield worker
    worker.stop()


def break_a_bundle(api: Api) -> None:
    path = f"{CONFIGURATIONS[1]}/tokenguard"
    webhooks = [{**webhook, "clientConfig": {"caBundle": "anVuaw=="}} for webhook in api.objects[path]["webhooks"]]
    api.put(path, {"metadata": {"name": "tokenguard"}, "webhooks": webhooks})


def delete_the_secret(api: Api) -> None:
    api.delete(f"{SECRETS}/tokenguard-tls")


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("happens", [break_a_bundle, delete_the_secret])
def test_change_is_reconciled_at_once(api, happens) -> None:
    happens(api)

    def is_restored() -> bool:
        held = TlsSecret("tokenguard/tokenguard-tls").read(api).stored.bundle
        return {base64.b64decode(bundle) for bundle in api.bundles()} == {held}

    eventually(is_restored, patience=IDLE / 2)


def test_start_with_an_unusable_pair_does_not_wait_for_the_next(api, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("webhook.cluster.certificates.manager.START_TIMEOUT", 3600.0)
    pair, other_pair = (issue_certificate(create_ca(NOW), ["a.example.com"], NOW) for _ in range(2))
    secret = TlsSecret("tokenguard/tokenguard-tls")
    assert secret.write(api, StoredCertificates(b"", b"", pair.certificate, other_pair.key), "")
    worker = manager(tmp_path, lambda: "", manage=False)
    starting = threading.Thread(target=worker.start, daemon=True)
    starting.start()
    eventually(lambda: not starting.is_alive())
    assert secret.write(api, StoredCertificates(b"", b"", pair.certificate, pair.key), secret.read(api).version)
    eventually(lambda: (tmp_path / "certificate.pem").read_bytes() == pair.certificate + b"\n" + pair.key)
    eventually(lambda: not worker._reconciler.is_failing)
    worker.stop()


@pytest.mark.covers("failure-modes: API server unreachable")
def test_restart_without_an_api_server_serves_the_last_pair(api, running, tmp_path) -> None:
    running.stop()
    before = (tmp_path / "certificate.pem").read_bytes()
    api.refused = {(method, "/") for method in ("get", "post", "patch", "delete")}
    successor = manager(tmp_path, lambda: served_by(tmp_path))
    successor.start()
    assert successor._reconciler.is_failing
    successor.stop()
    assert (tmp_path / "certificate.pem").read_bytes() == before


def test_restart_with_a_lost_secret_is_trusted_by_the_old_ca(api, running, tmp_path) -> None:
    running.stop()
    [before] = set(map(base64.b64decode, api.bundles()))
    delete_the_secret(api)
    successor = manager(tmp_path, lambda: served_by(tmp_path))
    successor.start()
    assert before in TlsSecret("tokenguard/tokenguard-tls").read(api).stored.bundle
    successor.stop()


@pytest.mark.covers("failure-modes: clock jumps")
def test_certificates_are_signed_by_the_api_servers_clock(api, tmp_path) -> None:
    server_time = dt.datetime(2031, 5, 6, 7, tzinfo=dt.UTC)
    api.now = lambda: server_time
    worker = manager(tmp_path, lambda: "")
    starting = threading.Thread(target=worker.start)
    starting.start()
    secret = TlsSecret("tokenguard/tokenguard-tls")
    eventually(lambda: secret.read(api).version)
    worker.stop()
    starting.join()
    serving = secret.read(api).stored.serving
    assert serving.not_after == server_time + SERVING_LIFETIME


@pytest.mark.usefixtures("api")
def test_write_error_is_logged_and_retried(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("webhook.cluster.certificates.manager.AFTER_FAILURE", 0.1)
    (tmp_path / "certificate.pem").mkdir()
    worker = manager(tmp_path, lambda: "")
    starting = threading.Thread(target=worker.start)
    starting.start()
    eventually(lambda: "cannot reconcile: IsADirectoryError" in caplog.text)
    (tmp_path / "certificate.pem").rmdir()
    eventually(lambda: served_by(tmp_path))
    worker.stop()
    starting.join()
