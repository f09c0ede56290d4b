"""Starting, keeping connections, stopping."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import run_command
from tests.kubeconfigs import KUBECONFIG
from tests.recorded_reviews import recorded
from tests.serving import JSON, PATIENCE, POST, ask, eventually, raw_connection, read_to_the_end, serve
from webhook.server.audit_log.logger import open_sinks
from webhook.server.options import ServeOptions, StartError
from webhook.server.serving_certificate import load_certificate
from webhook.server.state import State

BODY = recorded("pod-plain.pods", "mutate")


def test_connection_is_kept_for_reviews_and_refusals(server):
    with contextlib.closing(server.connect()) as connection:
        connection.connect()
        mine = connection.sock.getsockname()
        for body, status in [(BODY, 200), (b"{}", 400), (b"x" * (9 << 20), 413), (BODY, 200)] * 3:
            assert ask(connection, "POST", "/mutate", body, JSON).status == status
            assert connection.sock is not None
            assert connection.sock.getsockname() == mine


SLOW_TO_BOOT = """
import time
from webhook.server import worker
boot = worker.Worker.init_process
worker.Worker.init_process = lambda self: (print("booting", flush=True), time.sleep(2), boot(self))
from webhook.cli import main
main()
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stop_reaches_workers_that_are_booting(policy_flags, tmp_path, how):
    module = ("-c", SLOW_TO_BOOT)
    with serve(tmp_path, *policy_flags, ready=False, module=module) as server:
        eventually(lambda: (tmp_path / "audit").read_text().count("booting") == 1)
        server.process.send_signal(how)
        assert server.process.wait(20) == 0, "it waits for 25 seconds for a worker that knows of nothing"


def refuses_connections(server) -> bool:
    try:
        raw_connection(server).close()
    except OSError:
        return True
    return False


@pytest.mark.covers("failure-modes: worker stopped")
def test_sigterm_answers_reviews_in_flight_and_closes_idle(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags) as server:
        folder = Path(server.log.split("--cacert ")[1].split()[0]).parent
        assert (folder.stat().st_mode & 0o777, (folder / "tls.key").stat().st_mode & 0o777) == (0o700, 0o600)
        idle = [server.connect() for _ in range(6)]
        for connection in idle[:3]:
            assert ask(connection, "GET", "/healthz").status == 200
        for connection in idle[3:]:
            connection.connect()
        in_flight = raw_connection(server)
        in_flight.sendall(POST % len(BODY) + BODY[:100])
        time.sleep(0.3)  # for the server to have read so much; were it slower, the test would be weaker, not wrong
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses_connections(server))
        in_flight.sendall(BODY[100:])
        answer = in_flight.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in answer.lower()
        assert b'"allowed":true' in answer
        assert server.process.wait(10) == 0
        assert not folder.exists()
        assert "Traceback" not in server.log
        for connection in [*idle, in_flight]:
            connection.close()


WAITS_FOR = {
    "a certificate": ["--tls-secret", "tokenguard/tokenguard-tls", "--objects", "/dev/null"],
    "Secrets and policy": ["--tls-self-signed", "--policy-configmap", "tokenguard/token-policy"],
}


@pytest.mark.parametrize("flags", WAITS_FOR.values(), ids=WAITS_FOR)
@pytest.mark.covers("failure-modes: API server silent at the start")
def test_stop_while_waiting_for_a_silent_api_server_is_prompt(flags, tmp_path):
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
def test_ipv6_is_served_with_flags_from_the_environment(tmp_path):
    environment = {"TOKENGUARD_AUDIT_LEVEL": "all", "TOKENGUARD_BIND": "[::1]:0"}
    with serve(tmp_path, bind=(), environment=environment) as server:
        assert server.address.startswith("[::1]:")
        server.review("/validate", BODY)
        assert server.audit
        assert server.log.count("no --policy: the default policy is in force") == 1
        assert server.log.count("no --objects: legacy token Secrets are not known") == 1


MADE = ["--tls-self-signed"]
SECRET = ["--kubeconfig", "/dev/null", "--tls-secret", "a/b"]
USAGE_ERRORS = {
    "no TLS": ([], "--tls-self-signed"),
    "half a pair": (["--tls-cert", "a.crt"], "--tls-key"),
    "both kinds": ([*MADE, "--tls-cert", "a.crt", "--tls-key", "a.key"], "excludes --tls-cert"),
    "no port": ([*MADE, "--bind", "localhost"], "HOST:PORT"),
    "no such name": ([*MADE, "--tls-san", "not a name"], "--tls-san: 'not a name' is neither"),
    "no such name for a Secret": ([*SECRET, "--manage-certs", "--tls-san", "-"], "--tls-san: '-' is neither"),
    "a name for others' certificate": ([*SECRET, "--tls-san", "a"], "without --manage-certs"),
    "nowhere to keep certificates": ([*MADE, "--manage-certs"], "requires --tls-secret"),
    "a kubeconfig that is not there": ([*MADE, "--kubeconfig", "a"], "--kubeconfig a: does not exist"),
    "no such level": ([*MADE, "--audit-level", "none"], "--audit-level"),
    "no such audit failure": ([*MADE, "--audit-failure", "ignore"], '"ignore" is not one of deny, allow'),
    "no regular file": ([*MADE, "--audit-file", "/dev/null"], "not a regular file"),
    "one file twice": ([*MADE, "--audit-file", "/a", "--audit-log", "/./a"], "use one of them"),
    "no size": ([*MADE, "--audit-file-max-size", "1MB"], "use bytes, or a number with Ki, Mi or Gi"),
    "no share": ([*MADE, "--audit-sample", "2"], "not in the range 0<=x<=1"),
    "not in a pod": ([*MADE, "--policy-configmap", "a/b"], "use --kubeconfig FILE"),
    "two policies": ([*MADE, "--policy-configmap", "a/b", "--policy", "p.yaml"], "excludes --policy-configmap"),
    "no namespace": ([*MADE, "--own-namespace", "a/b"], "is not a namespace name"),
    "not a path": ([*MADE, "--policy-configmap", "a/../b"], "[NAMESPACE/]NAME"),
}


@pytest.mark.parametrize(("flags", "message"), USAGE_ERRORS.values(), ids=USAGE_ERRORS)
@pytest.mark.covers("failure-modes: --audit-failure allow")
def test_invalid_options_are_usage_errors(flags, message):
    done = run_command("serve", "--bind", "127.0.0.1:0", *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[0]


BAD_FILES = {
    "no such certificate": ({"tls_cert": "no.crt", "tls_key": "no.key"}, "no.crt: no such file"),
    "no certificate in it": ({"tls_cert": "/dev/null", "tls_key": "/dev/null"}, "/dev/null: no certificate"),
    "no such client CA": ({"tls_self_signed": True, "client_ca": "no.crt"}, "no.crt: no such file"),
    "no client CA in it": (
        {"tls_self_signed": True, "client_ca": "/dev/null"},
        "/dev/null: no certificate",
    ),
}


@pytest.mark.parametrize(("options", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_server_without_certificate_or_client_ca_does_not_start(options, message, tmp_path):
    paths = {name: Path(value) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(StartError, match=message):
        load_certificate(ServeOptions(**paths), None, State(), tmp_path, lambda _name, _accepted: None)


@pytest.mark.parametrize("option", ["audit_log", "audit_file"])
def test_server_without_its_audit_log_does_not_start(option, tmp_path):
    options = ServeOptions(tls_self_signed=True, **{option: tmp_path / "none" / "file"})
    with pytest.raises(StartError, match=f"--{option.replace('_', '-')} {tmp_path}/none/file: no such file"):
        open_sinks(replace(options, audit_log=str(options.audit_log)))


@pytest.mark.parametrize("host", ["127.0.0.1", "256.0.0.1"])
def test_address_that_cannot_be_bound_is_reported_in_one_line(host, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as held:
        bind = f"{host}:{held.getsockname()[1]}"
        command = [sys.executable, "-m", "webhook", "serve", "--tls-self-signed", "--bind", bind]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith(f"error: --bind {bind}: ")
    assert "Traceback" not in ended.stderr


def test_pipelined_requests_over_tls_are_answered_in_their_order(server):
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + POST % len(BODY) + BODY)
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answers = read_to_the_end(connection).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200", b"404"]
    assert b"AdmissionReview" in answers[1]


EARLY = """
import os, signal
from webhook.server.gunicorn_app import GunicornApp
load_config = GunicornApp.load_config
def signalled(app):
    os.kill(os.getpid(), signal.{})
    load_config(app)
GunicornApp.load_config = signalled
from webhook.cli import main
main()
"""
"""The command, with a signal that comes before gunicorn handles signals."""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT"])
def test_signal_to_stop_ends_a_server_that_starts(policy_flags, name):
    command = [sys.executable, "-c", EARLY.format(name), "serve", "--bind", "127.0.0.1:0", "--tls-self-signed"]
    assert subprocess.run([*command, *policy_flags], capture_output=True, timeout=30, check=False).returncode == 0


def test_signal_to_reopen_logs_leaves_a_server_that_starts(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags, module=("-c", EARLY.format("SIGUSR1"))) as server:
        assert server.review("/mutate", BODY)["allowed"]
