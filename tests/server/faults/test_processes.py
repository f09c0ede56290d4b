"""Processes that are killed or stopped while reviews are sent without a pause."""

import contextlib
import http.client
import os
import resource
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recorded_reviews import recorded
from tests.server.faults.load import connections_of, load
from tests.serving import JSON, eventually, serve

BODY = recorded("pod-plain.pods", "mutate")
LEFT = 8 << 20
"""Memory that is left for connections and small reviews."""


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.covers("failure-modes: worker killed")
def test_worker_killed_under_load_fails_its_reviews_in_flight(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags) as server, load(server) as running:
        lost: set[int] = set()
        for _ in range(3):
            running.go_on()
            [victim] = server.workers
            os.kill(victim, signal.SIGSTOP)  # so that it accepts no other connection
            lost |= connections_of(server)
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: server.workers not in ([], [victim]))
        running.go_on()
    assert running.failures, "the workers that were killed were at work"
    assert {failure.port for failure in running.failures} <= lost
    assert running.refused == 0, "the listening socket outlives a worker"


@pytest.mark.covers("failure-modes: worker stopped")
def test_stop_under_load_fails_no_review(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags) as server, load(server) as running:
        running.go_on(200)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        eventually(lambda: running.ended)
    assert running.failures == []
    assert running.refused == 8


@pytest.mark.covers("failure-modes: master killed")
def test_killed_master_fails_no_review_and_frees_the_port(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags) as server, load(server) as running:
        running.go_on(200)
        workers = server.workers
        server.process.kill()
        server.process.wait()
        eventually(lambda: all(map(is_gone, workers)))
        eventually(lambda: running.ended)
    assert running.failures == []
    host, port = server.address.rsplit(":", 1)
    socket.create_server((host, int(port))).close()


@pytest.mark.covers("failure-modes: out of memory")
def test_large_reviews_without_memory_are_refused_small_answered(policy_flags, tmp_path):
    large = BODY + b" " * (40 << 20)
    with serve(tmp_path, *policy_flags, "--max-body-bytes", str(64 << 20)) as server:
        (worker,) = server.workers
        server.review("/mutate", BODY)
        size = int(Path(f"/proc/{worker}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(worker, resource.RLIMIT_AS, (size + LEFT, resource.RLIM_INFINITY))
        for _ in range(3):
            assert server.request("POST", "/mutate", large, JSON).status == 503
            assert server.review("/mutate", BODY)["allowed"]
        resource.prlimit(worker, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert server.review("/mutate", large)["allowed"]
        assert server.workers == [worker]
        assert server.metric("tokenguard_requests_refused_total", reason="too_many") == 3
        assert "Traceback" not in server.log


CGROUPS = (("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"),
           ("/sys/fs/cgroup", "memory.max", "memory.current", "memory.events"))  # fmt: skip
"""Of version 1 and 2: the folders, and the files with the limit, the use and the kills."""


def removed(folder: Path) -> bool:
    """Remove a cgroup, and return whether it is gone: what was in it may take a moment to be."""
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


@contextlib.contextmanager
def cgroup() -> Iterator[tuple[Path, Path, Path, Path]]:
    """Make a cgroup for memory, as a container has; skip the test where this user can't. What is in it has to end."""
    for parent, *files in CGROUPS:
        made = Path(parent, f"tokenguard-test-{os.getpid()}")
        with contextlib.suppress(OSError):
            made.mkdir()
            if all((made / file).exists() for file in files):
                break
            made.rmdir()
    else:
        pytest.skip("needs the right to make a cgroup that limits memory: root, and /sys/fs/cgroup writable")
    try:
        limit, used, killed = (made / file for file in files)
        yield made / "cgroup.procs", limit, used, killed
    finally:
        eventually(lambda: removed(made))


def is_answered(server) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return bool(server.review("/mutate", BODY)["allowed"])
    return False


def kills_in(events: Path) -> int:
    return int(events.read_text().split("oom_kill ")[1].split()[0])


@pytest.mark.covers("failure-modes: out of memory")
def test_worker_killed_for_memory_is_replaced(policy_flags, tmp_path):
    large = BODY + b" " * (60 << 20)
    with (
        cgroup() as (members, limit, used, events),
        serve(tmp_path, *policy_flags, "--max-body-bytes", str(64 << 20)) as server,
    ):
        for pid in (server.process.pid, *server.workers):
            members.write_text(str(pid))
        assert is_answered(server)
        limit.write_text(str(int(used.read_text()) + (30 << 20)))
        for _ in range(2):
            before, kills = server.workers, kills_in(events)
            with pytest.raises((ConnectionError, ssl.SSLError)):
                server.request("POST", "/mutate", large, JSON)
            assert kills_in(events) > kills
            eventually(lambda before=before: server.workers not in ([], before) and is_answered(server))
        assert server.process.poll() is None
