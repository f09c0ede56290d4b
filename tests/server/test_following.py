"""Files that change while the server runs, and files that were bad from the start."""

import contextlib
import datetime as dt
import os
import ssl
import threading
from pathlib import Path

import pytest

from tests.server.test_bad_input import raw_connection
from tests.server.test_recorded import decided, recorded
from tests.serving import OBJECTS, POLICY, eventually, serve
from webhook.pki.issue import create_self_signed
from webhook.server.file_watcher import WatchedFiles
from webhook.server.serving_certificate import ServingCertificate
from webhook.server.state import State

BAD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\nmodee: warn\ntokens: {maxExpirationSeconds: 5}\n"
WARN = "apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: warn\n"
DENIED = recorded("secret-legacy.secrets", "validate")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "objects.yaml").write_text(OBJECTS)
    return tmp_path


def flags(files: Path) -> list[str]:
    return ["--policy", str(files / "policy.yaml"), "--objects", str(files / "objects.yaml")]


def decision(server, body=DENIED) -> str:
    return decided(server.review("/validate", body))


def everywhere(server, expected: str, body=DENIED) -> bool:
    """Say whether all of many new connections, which spread over the workers, get this decision."""
    return all(decision(server, body).startswith(expected) for _ in range(12))


def test_a_new_policy_is_in_force_in_every_worker_and_counted_once(files):
    with serve(files / "run", *flags(files)) as server:
        assert decision(server).startswith("denied")
        (files / "policy.yaml").write_text(WARN)
        eventually(lambda: everywhere(server, "warned"))
        assert server.metric("tokenguard_policy_reloads_total", result="accepted") == 2
        assert server.log.count("policy reloaded") == 1


def test_a_bad_policy_is_told_with_every_mistake_and_the_last_good_one_stays_in_force(files):
    with serve(files / "run", *flags(files)) as server:
        (files / "policy.yaml").write_text(BAD)
        eventually(lambda: "the last good one stays in force" in server.log)
        assert "modee" in server.log
        assert "maxExpirationSeconds" in server.log
        assert everywhere(server, "denied")
        assert server.request("GET", "/readyz").status == 200
        assert server.metric("tokenguard_policy_reloads_total", result="rejected") == 1
        (files / "policy.yaml").write_text(WARN)
        eventually(lambda: everywhere(server, "warned"))


def test_a_policy_that_vanishes_stays_in_force_and_is_taken_up_again(files):
    with serve(files / "run", *flags(files)) as server:
        (files / "policy.yaml").unlink()
        eventually(lambda: "No such file" in server.log)
        assert decision(server).startswith("denied")
        (files / "policy.yaml").write_text(WARN)
        eventually(lambda: decision(server).startswith("warned"))


def test_a_mounted_configmap_is_followed_through_its_symlinks(files):
    for version, policy in (("..1", POLICY), ("..2", WARN)):
        (files / version).mkdir()
        (files / version / "policy.yaml").write_text(policy)
    (files / "policy.yaml").unlink()
    (files / "..data").symlink_to("..1")
    (files / "policy.yaml").symlink_to("..data/policy.yaml")
    with serve(files / "run", *flags(files)) as server:
        assert decision(server).startswith("denied")
        (files / "..fresh").symlink_to("..2")
        (files / "..fresh").replace(files / "..data")
        eventually(lambda: decision(server).startswith("warned"))


def test_new_objects_are_known_and_bad_ones_leave_the_known_as_they_are(files):
    legacy = recorded("pod-legacy-env.pods", "validate")
    with serve(files / "run", *flags(files)) as server:
        assert "legacy-token-reference" in decision(server, legacy)
        (files / "objects.yaml").write_text("kind: [")
        eventually(lambda: "objects not used" in server.log)
        assert "legacy-token-reference" in decision(server, legacy)
        (files / "objects.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n")
        eventually(lambda: "legacy-token-reference" not in decision(server, legacy))


@pytest.mark.parametrize("content", [None, BAD], ids=["missing", "bad"])
def test_without_a_policy_from_the_start_nothing_is_ready_and_reviews_are_denied(files, content):
    (files / "policy.yaml").unlink()
    if content:
        (files / "policy.yaml").write_text(content)
    with serve(files / "run", *flags(files), ready=False) as server:
        ready = server.request("GET", "/readyz")
        assert ready.status == 503
        assert "policy not loaded" in ready.json["error"]
        assert server.request("GET", "/healthz").status == 200
        response = server.review("/mutate", recorded("pod-plain.pods", "mutate"))
        assert (response["allowed"], response["status"]["code"]) == (False, 503)
        assert "tokenguard is not ready" in response["status"]["message"]
        (files / "policy.yaml").write_text(POLICY)
        eventually(lambda: server.request("GET", "/readyz").status == 200)
        eventually(lambda: server.review("/mutate", recorded("pod-plain.pods", "mutate"))["allowed"])


def test_a_worker_that_starts_while_the_policy_is_bad_has_the_last_good_one(files):
    with serve(files / "run", *flags(files)) as server:
        (files / "policy.yaml").write_text(WARN)
        eventually(lambda: decision(server).startswith("warned"))
        (files / "policy.yaml").write_text(BAD)
        eventually(lambda: "the last good one stays in force" in server.log)
        replace_the_worker(server)
        assert decision(server).startswith("warned")


def test_a_renewed_certificate_is_served_without_a_restart_and_a_bad_one_is_not(files):
    pairs = [create_self_signed([f"made-{number}.example.com"], dt.datetime.now(dt.UTC)) for number in range(2)]
    put(files, pairs[0].certificate, pairs[0].key)
    tls = ["--tls-cert", str(files / "tls.crt"), "--tls-key", str(files / "tls.key")]
    with serve(files / "run", *flags(files), *tls) as server:
        assert served_name(server) == "made-0.example.com"
        server.context.load_verify_locations(cadata=pairs[1].authority.decode())
        put(files, pairs[1].certificate, pairs[0].key)
        eventually(lambda: "certificate not used" in server.log)
        assert served_name(server) == "made-0.example.com"
        put(files, pairs[1].certificate, pairs[1].key)
        eventually(lambda: served_name(server) == "made-1.example.com")
        assert "PRIVATE" not in server.log


def test_no_handshake_fails_while_certificates_are_replaced(tmp_path):
    pair = ServingCertificate(tmp_path, State(), ["certificate", "key"])
    made = [create_self_signed([], dt.datetime.now(dt.UTC)) for _ in range(2)]
    pair.use_pair(made[0].certificate, made[0].key)
    client = ssl.create_default_context(cadata="".join(one.authority.decode() for one in made))
    stop = threading.Event()

    def replace_again_and_again() -> None:
        while not stop.is_set():
            for one in made:
                pair.use_pair(one.certificate, one.key)

    thread = threading.Thread(target=replace_again_and_again)
    thread.start()
    try:
        for number in range(1000):
            shake_hands(client, pair.context, "localhost" if number % 2 else "127.0.0.1")
    finally:
        stop.set()
        thread.join()


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Do a TLS handshake in memory; raises where it fails. An address is sent without a server name."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(down, up, server_hostname=name),
        server.wrap_bio(up, down, server_side=True),
    ]
    for side in (*sides, *sides):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert sides[0].version() == "TLSv1.3"
    assert sides[0].getpeercert()


def replace_the_worker(server) -> None:
    (worker,) = server.workers
    os.kill(worker, 9)
    eventually(lambda: server.workers not in ([], [worker]))


def test_a_worker_that_starts_while_the_objects_are_bad_knows_the_last_good_ones(files):
    legacy = recorded("pod-legacy-env.pods", "validate")
    data = "c2VjcmV0LXZhbHVl"
    (files / "objects.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n")
    with serve(files / "run", *flags(files)) as server:
        assert "legacy-token-reference" not in decision(server, legacy)
        (files / "objects.yaml").write_text(f"{OBJECTS}data: {{password: {data}}}\n")
        eventually(lambda: "legacy-token-reference" in decision(server, legacy))
        (files / "objects.yaml").write_text("kind: [")
        eventually(lambda: "objects not used" in server.log)
        replace_the_worker(server)
        assert "legacy-token-reference" in decision(server, legacy)
        assert server.metric("tokenguard_legacy_secrets") == 2
        assert server.log.count("can't be used: restored the last good one") == 1
        private = Path(server.log.split("--cacert ")[1].split()[0]).parent
        assert not any(data.encode() in file.read_bytes() for file in private.iterdir() if file.is_file())


def test_a_worker_that_starts_while_the_certificate_is_bad_serves_the_last_good_one(files):
    pairs = [create_self_signed([f"made-{number}.example.com"], dt.datetime.now(dt.UTC)) for number in range(2)]
    put(files, pairs[0].certificate, pairs[0].key)
    tls = ["--tls-cert", str(files / "tls.crt"), "--tls-key", str(files / "tls.key")]
    with serve(files / "run", *flags(files), *tls, env={**os.environ, "TMPDIR": str(files)}) as server:
        server.context.load_verify_locations(cadata=pairs[1].authority.decode())
        put(files, pairs[1].certificate, pairs[1].key)
        eventually(lambda: served_name(server) == "made-1.example.com")
        put(files, b"junk", b"junk")
        eventually(lambda: "certificate not used" in server.log)
        replace_the_worker(server)
        assert served_name(server) == "made-1.example.com"
        assert "certificate" in server.log.split("can't be used: restored")[0].splitlines()[-1]
        (kept,) = files.glob("tokenguard-run-*/certificate.stored")
        assert kept.stat().st_mode & 0o777 == 0o600


def test_every_kind_of_file_is_counted_as_it_is_read(files):
    pair = create_self_signed([], dt.datetime.now(dt.UTC))
    put(files, pair.certificate, pair.key)
    tls = ["--tls-cert", str(files / "tls.crt"), "--tls-key", str(files / "tls.key")]
    with serve(files / "run", *flags(files), *tls) as server:
        (files / "policy.yaml").write_text(BAD)
        (files / "objects.yaml").write_text("kind: [")
        (files / "tls.crt").write_bytes(b"junk")
        for what in ("policy", "objects", "certificate"):
            eventually(lambda what=what: server.metric("tokenguard_reloads_total", what=what, result="rejected") == 1)
            assert server.metric("tokenguard_reloads_total", what=what, result="accepted") == 1
        assert server.metric("tokenguard_policy_reloads_total") == 2


def put(folder: Path, certificate: bytes, key: bytes) -> None:
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)


def served_name(server) -> str:
    with raw_connection(server) as connection:
        assert isinstance(connection, ssl.SSLSocket)
        return connection.getpeercert()["subjectAltName"][-1][1]


def test_a_lack_of_room_while_a_file_is_read_is_made_up_for_as_soon_as_there_is_some(tmp_path):
    (tmp_path / "file").write_text("content")
    taken = []
    lacks = [OSError(28, "No space left on device")]

    def accept(content):
        if lacks:
            raise lacks.pop()
        taken.append(content)
        return content

    files = WatchedFiles("policy", [tmp_path / "file"], accept, tmp_path, lambda _name, _accepted: None)
    files.check()
    assert not files.is_loaded
    files.check()
    assert taken == [b"content"]
