"""One of a replica's workers acts for all of them."""

import threading

from tests.serving import eventually
from webhook.cluster.certificates.keeper import CertificateKeeper

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


def keeper(tmp_path) -> CertificateKeeper:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    made = CertificateKeeper(tmp_path / "kubeconfig", "tokenguard/tokenguard-tls", ["a.example.com"], manage=True)
    made.attach(tmp_path, lambda: "fingerprint")
    return made


def test_where_the_api_server_is_away_a_worker_starts_all_the_same_and_the_log_says_why(tmp_path, caplog) -> None:
    one = keeper(tmp_path)
    one.start()
    one.stop()
    assert "Secret tokenguard/tokenguard-tls: the API server can't be reached" in caplog.text


def test_one_worker_acts_for_all_and_another_one_when_it_is_gone(tmp_path) -> None:
    one, other = keeper(tmp_path), keeper(tmp_path)
    one.start()
    assert one._leads
    starting = threading.Thread(target=other.start)
    starting.start()
    assert not other._leads
    one.stop()
    eventually(lambda: other._leads)
    starting.join()
    other.stop()


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
