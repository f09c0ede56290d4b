"""One of a replica's workers acts for all of them."""

import base64
import datetime as dt
import threading

import pytest

from tests.cluster.certificates.api import CONFIGURATIONS, LEASES, SECRETS, Api
from tests.serving import eventually
from webhook.cluster.certificates.keeper import CertificateKeeper
from webhook.cluster.certificates.reconcile import IDLE
from webhook.cluster.certificates.secret import TlsSecret
from webhook.pki.make import SERVING_LIFETIME, issue, new_authority
from webhook.pki.read import certificates
from webhook.pki.renewal import Kept

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


def keeper(tmp_path, serving=lambda: "fingerprint", *, manage=True) -> CertificateKeeper:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    made = CertificateKeeper(tmp_path / "kubeconfig", "tokenguard/tokenguard-tls", ["a.example.com"], manage=manage)
    made.attach(tmp_path, serving)
    return made


def test_where_the_api_server_is_away_a_worker_starts_all_the_same_and_the_log_says_why(tmp_path, caplog) -> None:
    one = keeper(tmp_path)
    one.start()
    one.stop()
    assert "Secret tokenguard/tokenguard-tls: the API server can't be reached" in caplog.text


def test_one_worker_acts_for_all_and_another_one_when_it_is_gone(tmp_path) -> None:
    looks = []
    one = keeper(tmp_path)
    other = keeper(tmp_path, lambda: looks.append(None) or "fingerprint")
    one.start()
    assert one._leads
    starting = threading.Thread(target=other.start)
    starting.start()
    eventually(lambda: len(looks) >= 3)  # before its second look it has tried to lead
    assert not other._leads
    one.stop()
    eventually(lambda: other._leads)
    starting.join()
    other.stop()


@pytest.fixture
def api(monkeypatch) -> Api:
    """Return the API server that a keeper made from now on speaks to, with nothing in it but the configurations."""
    made = Api()
    made.install()
    monkeypatch.setattr("webhook.cluster.certificates.keeper.Connection", lambda *_: made)
    return made


@pytest.fixture
def running(api, tmp_path):
    """Return a keeper that has made all that there has to be, and takes its time until the next look."""
    file = tmp_path / "certificate.pem"

    def serving() -> str:
        return certificates(file.read_bytes())[0].fingerprint if file.exists() else ""

    one, delays = keeper(tmp_path, serving), []
    look = one._reconciler.reconcile
    one._reconciler.reconcile = lambda: delays.append(look()) or delays[-1]
    one.start()
    eventually(lambda: delays[-1:] == [IDLE] and all(api.bundles()))
    yield one
    one.stop()


def test_a_replica_that_stops_takes_leave(api, running) -> None:
    [lease] = [path for path in api.objects if path.startswith(LEASES)]
    assert lease == f"{LEASES}/{running._reconciler.replicas.own}"
    running.stop()
    assert [path for path in api.objects if path.startswith(LEASES)] == []


def break_a_bundle(api: Api) -> None:
    path = f"{CONFIGURATIONS[1]}/tokenguard"
    webhooks = [{**one, "clientConfig": {"caBundle": "anVuaw=="}} for one in api.objects[path]["webhooks"]]
    api.put(path, {"metadata": {"name": "tokenguard"}, "webhooks": webhooks})


def delete_the_secret(api: Api) -> None:
    api.delete(f"{SECRETS}/tokenguard-tls")


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("happens", [break_a_bundle, delete_the_secret])
def test_what_changes_is_mended_long_before_the_next_look_would_be(api, happens) -> None:
    happens(api)

    def is_mended() -> bool:
        held = TlsSecret("tokenguard/tokenguard-tls").read(api).kept.bundle
        return {base64.b64decode(bundle) for bundle in api.bundles()} == {held}

    eventually(is_mended, patience=IDLE / 2)


def test_no_worker_waits_for_a_pair_that_can_not_be_served_and_the_next_is_taken_up(api, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("webhook.cluster.certificates.keeper.PATIENCE", 3600.0)
    pair, other_pair = (issue(new_authority(NOW), ["a.example.com"], NOW) for _ in range(2))
    secret = TlsSecret("tokenguard/tokenguard-tls")
    assert secret.write(api, Kept(b"", b"", pair.certificate, other_pair.key), "")
    workers = [keeper(tmp_path, lambda: "", manage=False) for _ in range(2)]
    starting = [threading.Thread(target=one.start, daemon=True) for one in workers]
    for thread in starting:
        thread.start()
    eventually(lambda: not any(thread.is_alive() for thread in starting))
    assert secret.write(api, Kept(b"", b"", pair.certificate, pair.key), secret.read(api).version)
    eventually(lambda: (tmp_path / "certificate.pem").read_bytes() == pair.certificate + b"\n" + pair.key)
    eventually(lambda: not (tmp_path / "certificate.failing").exists())
    for one in workers:
        one.stop()


def test_certificates_are_signed_by_the_api_servers_clock(api, tmp_path) -> None:
    told = dt.datetime(2031, 5, 6, 7, tzinfo=dt.UTC)
    api.now = lambda: told
    one = keeper(tmp_path, lambda: "")
    starting = threading.Thread(target=one.start)
    starting.start()
    secret = TlsSecret("tokenguard/tokenguard-tls")
    eventually(lambda: secret.read(api).version)
    one.stop()
    starting.join()
    serving = secret.read(api).kept.serving
    assert serving.ends == told + SERVING_LIFETIME


def test_what_goes_wrong_with_the_folder_is_told_and_does_not_end_the_watch(tmp_path, caplog) -> None:
    (tmp_path / "serving").write_text("no folder")
    one = keeper(tmp_path)
    starting = threading.Thread(target=one.start)
    starting.start()
    eventually(lambda: "can't be looked after: FileExistsError" in caplog.text)
    (tmp_path / "serving").unlink()
    eventually((tmp_path / "serving").is_dir)
    one.stop()
    starting.join()
