"""The server's process: its standard streams, its open files, its private folder, its signals."""

import contextlib
import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import open_files_limit
from tests.recorded_reviews import recorded
from tests.serving import eventually, raw_connection, serve
from webhook.server.options import StartError
from webhook.server.process_setup import MAX_FILES, private_folder, raise_file_limit

BODY = recorded("pod-plain.pods", "mutate")


def test_open_files_limit_is_raised_to_the_hard_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        raise_file_limit()
        assert open_files_limit(os.getpid()) == min(hard, MAX_FILES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.covers("failure-modes: out of file descriptors", "threat-model: idle connections")
def test_low_open_files_limit_closes_idle_connections(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags) as server, contextlib.ExitStack() as stack:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (100, 100))
        server.replace_worker()
        assert open_files_limit(server.workers[0]) == 100
        for _ in range(120):
            stack.enter_context(contextlib.closing(raw_connection(server)))
        assert server.review("/mutate", BODY)["allowed"]
        assert len(list(Path(f"/proc/{server.workers[0]}/fd").iterdir())) < 70


def start_without(stream: str, *flags: str) -> list[str]:
    command = [sys.executable, "-m", "webhook", "serve", "--bind", "127.0.0.1:0", "--tls-self-signed", *flags]
    return ["sh", "-c", f'exec "$@" {stream}', "sh", *command]


@pytest.mark.covers("failure-modes: stdout closed")
def test_audit_log_to_a_closed_stdout_is_refused():
    command = start_without(">&-", "--bind", "256.0.0.1:0")
    ended = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith(b"--audit-log -: stdout is closed")


@pytest.mark.covers("failure-modes: stdout closed")
def test_closed_standard_streams_are_not_reused(policy_flags, tmp_path):
    audit = ["--audit-log", str(tmp_path / "audit")]
    command = start_without("<&- >&-", *policy_flags, *audit)
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            eventually(lambda: "serving on" in (tmp_path / "log").read_text())
            for fd in (0, 1):
                assert str(Path(f"/proc/{process.pid}/fd/{fd}").readlink()) == os.devnull
        finally:
            process.terminate()
    assert process.returncode == 0


def folders(where: Path) -> list[Path]:
    return sorted(where.glob("tokenguard-run-*"))


def test_folders_of_killed_servers_are_removed_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("tokenguard-run-left", "tokenguard-run-used", "tokenguard-other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tls.key").touch()
    (tmp_path / "tokenguard-run-link").symlink_to("tokenguard-other")
    held = os.open(tmp_path / "tokenguard-run-used", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with private_folder() as first, private_folder() as second:
        assert set(folders(tmp_path)) == {
            first, second, tmp_path / "tokenguard-run-used", tmp_path / "tokenguard-run-link",
        }  # fmt: skip
        assert first.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "tokenguard-other" / "tls.key").exists()
    os.close(held)


def test_read_only_root_is_reported_in_one_line(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/proc/nowhere"])  # root can write to the others
    with pytest.raises(StartError, match="mount one at /tmp"), private_folder():
        pass


@pytest.mark.covers("failure-modes: master killed")
def test_folder_of_a_killed_server_is_locked_while_workers_live(policy_flags, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with serve(tmp_path / "run", *policy_flags) as server:
        (left,) = folders(tmp_path)
        [worker] = server.workers
        with private_folder():
            assert left in folders(tmp_path)
        server.process.kill()
        eventually(lambda: not Path(f"/proc/{worker}").exists())
        assert (left / "tls.key").exists()
        with private_folder():
            assert left not in folders(tmp_path)
    assert folders(tmp_path) == []


def test_gunicorn_signals_for_reload_and_workers_are_ignored(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags) as server:
        before = server.workers
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            for pid in (server.process.pid, *before):
                os.kill(pid, number)
        server.process.send_signal(signal.SIGUSR1)  # is handled after the others, so when it has been, they have, too
        assert server.review("/mutate", BODY)["allowed"]
        assert server.workers == before
        server.replace_worker()
        assert len(server.workers) == 1
        assert "serving on" not in server.log.split("serving on", 1)[1]
