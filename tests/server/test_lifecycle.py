"""Starting, keeping connections, stopping."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.certificates.test_manager import KUBECONFIG
from tests.server.test_bad_input import raw_connection, read_to_the_end
from tests.server.test_recorded import recorded
from tests.serving import JSON, PATIENCE, ask, eventually, serve

BODY = recorded("pod-plain.pods", "mutate")


def test_a_connection_is_kept_for_many_reviews_and_across_refusals(server):
    with contextlib.closing(server.connect()) as connection:
        connection.connect()
        mine = connection.sock.getsockname()
        for body, status in [(BODY, 200), (b"{}", 400), (b"x" * (9 << 20), 413), (BODY, 200)] * 3:
            assert ask(connection, "POST", "/mutate", body, JSON).status == status
            assert connection.sock is not None
            assert connection.sock.getsockname() == mine


def head(body: bytes) -> bytes:
    return (
        b"POST /mutate HTTP/1.1\r\nHost: tokenguard\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )


SLOW_TO_BOOT = """
import time
from webhook.server import worker
boot = worker.Worker.init_process
worker.Worker.init_process = lambda self: (print("booting", flush=True), time.sleep(2), boot(self))
from webhook.cli import main
main()
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_not_lost_on_workers_that_are_about_to_boot(judged_by, tmp_path, how):
    module = ("-c", SLOW_TO_BOOT)
    with serve(tmp_path, *judged_by, ready=False, module=module) as server:
        eventually(lambda: (tmp_path / "audit").read_text().count("booting") == 1)
        server.process.send_signal(how)
        assert server.process.wait(20) == 0, "it waits for 25 seconds for a worker that knows of nothing"


def refuses_connections(server) -> bool:
    try:
        raw_connection(server).close()
    except OSError:
        return True
    return False


def test_a_review_in_flight_is_answered_after_sigterm_and_idle_connections_hold_up_nothing(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server:
        idle = [server.connect() for _ in range(6)]
        for connection in idle[:3]:
            assert ask(connection, "GET", "/healthz").status == 200
        for connection in idle[3:]:
            connection.connect()
        in_flight = raw_connection(server)
        in_flight.sendall(head(BODY) + BODY[:100])
        time.sleep(0.3)  # for the server to have read so much; were it slower, the test would be weaker, not wrong
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses_connections(server))
        in_flight.sendall(BODY[100:])
        answer = in_flight.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in answer.lower()
        assert b'"allowed":true' in answer
        assert server.process.wait(10) == 0
        assert "Traceback" not in server.log
        for connection in [*idle, in_flight]:
            connection.close()


def test_what_was_made_for_the_run_is_gone_after_it(judged_by, tmp_path):
    with serve(tmp_path / "run", *judged_by) as server:
        folder = Path(server.log.split("--cacert ")[1].split()[0]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600
        assert server.stop() == 0
        assert not folder.exists()


def test_a_worker_that_dies_is_replaced(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server:
        before = server.workers
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: server.workers not in ([], before))
        eventually(lambda: server.review("/mutate", BODY)["allowed"])


def test_only_tls_of_1_2_and_newer_is_spoken(server):
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")
    with contextlib.closing(raw_connection(server)) as connection:
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}


WAITS_FOR = {
    "a certificate": ["--tls-secret", "tokenguard/tokenguard-tls", "--objects", "/dev/null"],
    "Secrets and policy": ["--tls-self-signed", "--policy-configmap", "tokenguard/token-policy"],
}


@pytest.mark.parametrize("flags", WAITS_FOR.values(), ids=WAITS_FOR)
def test_while_it_waits_for_an_api_server_that_stays_silent_it_stops_as_soon_as_it_is_told_to(flags, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent, (tmp_path / "log").open("wb") as log:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "kubeconfig").write_text(KUBECONFIG.replace("https://127.0.0.1:1", url))
        command = [sys.executable, "-m", "webhook", "serve", "--bind", "127.0.0.1:0", *flags,
                   "--kubeconfig", str(tmp_path / "kubeconfig")]  # fmt: skip
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            silent.settimeout(PATIENCE)
            try:
                with silent.accept()[0]:  # so a worker has started, and waits
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(10) == 0
            finally:
                process.kill()
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_served(judged_by, tmp_path):
    with serve(tmp_path, *judged_by, "--bind", "[::1]:0") as server:
        assert server.address.startswith("[::1]:")
        assert server.request("GET", "/healthz").status == 200


def test_flags_may_be_given_by_the_environment(tmp_path):
    environment = {**os.environ, "TOKENGUARD_AUDIT_LEVEL": "all", "TOKENGUARD_POLICY": str(tmp_path / "none.yaml")}
    with serve(tmp_path, ready=False, env=environment) as server:
        server.review("/mutate", BODY)
        assert server.audit
        assert "none.yaml" in server.request("GET", "/readyz").json["error"]


def test_without_files_the_log_says_what_that_means(tmp_path):
    with serve(tmp_path) as server:
        assert server.log.count("no --policy: the default policy is in force") == 1
        assert server.log.count("no --objects: no Secret is known") == 1


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held.getsockname()[1]


MANAGED = ["--kubeconfig", "/dev/null", "--tls-secret", "a/b", "--manage-certs"]
NO_START = {
    "no TLS": ([], "--tls-self-signed"),
    "half a pair": (["--tls-cert", "a.crt"], "--tls-key"),
    "both kinds": (["--tls-self-signed", "--tls-cert", "a.crt", "--tls-key", "a.key"], "leave out"),
    "no such certificate": (["--tls-cert", "no.crt", "--tls-key", "no.key"], "no.crt: No such file"),
    "no certificate in it": (["--tls-cert", "/dev/null", "--tls-key", "/dev/null"], "/dev/null: no certificate"),
    "port taken": (["--tls-self-signed", "--bind", "127.0.0.1:{taken}"], "in use"),
    "no port": (["--tls-self-signed", "--bind", "localhost"], "HOST:PORT"),
    "no such host": (["--tls-self-signed", "--bind", "256.0.0.1:0"], "256.0.0.1"),
    "no such name": (
        ["--tls-self-signed", "--tls-san", "not a name"],
        "--tls-san not a name: 'not a name' is neither",
    ),
    "no such name for a Secret": ([*MANAGED, "--tls-san", "a", "--tls-san", "-"], "--tls-san -: '-' is neither"),
    "a name for others' certificate": ([*MANAGED[:-1], "--tls-san", "a"], "give --manage-certs, too"),
    "nowhere to keep certificates": (["--tls-self-signed", "--manage-certs"], "say with --tls-secret"),
    "no such folder": (["--tls-self-signed", "--bind", "127.0.0.1:0", "--audit-log", "/no/such/file"], "/no/such/file"),
    "no such level": (["--tls-self-signed", "--audit-level", "none"], "--audit-level"),
    "no such client CA": (["--tls-self-signed", "--client-ca", "no.crt"], "no.crt: No such file"),
    "no client CA in it": (
        ["--tls-self-signed", "--client-ca", "/dev/null"],
        "--client-ca /dev/null: no certificate",
    ),
    "a kubeconfig that is not there": (["--tls-self-signed", "--kubeconfig", "a"], "--kubeconfig"),
}


@pytest.mark.parametrize(("flags", "says"), NO_START.values(), ids=NO_START)
def test_where_it_cannot_start_it_says_why_and_exits_with_2(flags, says, taken, tmp_path):
    command = [sys.executable, "-m", "webhook", "serve", *(flag.format(taken=taken) for flag in flags)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert ended.returncode == 2
    assert says in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_requests_that_arrive_before_their_turn_are_answered_in_their_order(server):
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + head(BODY) + BODY)
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answers = read_to_the_end(connection).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200", b"404"]
    assert b"AdmissionReview" in answers[1]
