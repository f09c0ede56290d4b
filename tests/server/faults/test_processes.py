"""Processes that are killed or told to stop while reviews are sent without a pause."""

import contextlib
import os
import resource
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.faults.load import load, ports_of
from tests.server.test_recorded import recorded
from tests.serving import JSON, eventually, serve

BODY = recorded("pod-plain.pods", "mutate")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_of_a_worker_that_is_killed_under_load_only_its_own_reviews_fail_and_the_next_are_answered(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server, load(server) as running:
        lost: set[int] = set()
        for _ in range(3):
            running.go_on()
            before = server.workers
            victim = max(before, key=lambda one: len(ports_of(one)))
            lost |= ports_of(victim)
            os.kill(victim, signal.SIGKILL)
            eventually(lambda before=before: len(server.workers) == 2 and server.workers != before)
        running.go_on()
    assert running.failures, "the workers that were killed were at work"
    assert {one.port for one in running.failures} <= lost
    assert running.refused == 0, "the others go on to accept connections"


def test_a_stop_under_load_fails_no_review(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server, load(server) as running:
        running.go_on(200)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        eventually(lambda: running.ended)
    assert running.failures == []
    assert running.refused == 8


def test_a_master_that_is_killed_under_load_fails_no_review_and_leaves_room_for_the_next(judged_by, tmp_path):
    with serve(tmp_path / "first", *judged_by) as server, load(server) as running:
        running.go_on(200)
        workers = server.workers
        server.process.kill()
        server.process.wait()
        eventually(lambda: all(map(is_gone, workers)))
        eventually(lambda: running.ended)
    assert running.failures == []
    with serve(tmp_path / "second", *judged_by, "--bind", server.address) as after:
        assert after.review("/mutate", BODY)["allowed"]


def test_without_memory_for_more_large_reviews_are_refused_small_ones_answered_and_later_both(judged_by, tmp_path):
    large = BODY + b" " * (40 << 20)
    with serve(tmp_path, *judged_by, "--max-body-bytes", str(64 << 20)) as server:
        (worker,) = server.workers
        server.review("/mutate", BODY)
        size = int(Path(f"/proc/{worker}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(worker, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
        for _ in range(3):
            assert server.request("POST", "/mutate", large, JSON).status == 503
            assert server.review("/mutate", BODY)["allowed"]
        resource.prlimit(worker, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert server.review("/mutate", large)["allowed"]
        assert server.workers == [worker]
        assert server.metric("tokenguard_requests_refused_total", reason="too-many") == 3
        assert "Traceback" not in server.log


CGROUPS = (("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"),
           ("/sys/fs/cgroup", "memory.max", "memory.current", "memory.events"))  # fmt: skip
"""Of version 1 and 2: where they are, and what limits, counts and tells of kills."""


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
        limit, used, told = (made / file for file in files)
        yield made / "cgroup.procs", limit, used, told
    finally:
        eventually(lambda: removed(made))


def test_a_worker_that_hits_the_containers_limit_of_memory_is_killed_and_replaced_and_others_answer(
    judged_by, tmp_path
):
    large = BODY + b" " * (60 << 20)
    with (
        cgroup() as (members, limit, used, told),
        serve(tmp_path, *judged_by, "--max-body-bytes", str(64 << 20)) as server,
    ):
        for one in (server.process.pid, *server.workers):
            members.write_text(str(one))
        assert server.review("/mutate", BODY)["allowed"]
        limit.write_text(str(int(used.read_text()) + (30 << 20)))
        for kills in (1, 2):
            before = server.workers
            with pytest.raises((ConnectionError, ssl.SSLError)):
                server.request("POST", "/mutate", large, JSON)
            assert f"oom_kill {kills}\n" in told.read_text()
            assert eventually(lambda: server.review("/mutate", BODY)["allowed"])
            eventually(lambda before=before: len(server.workers) == 2 and server.workers != before)
        assert server.log.count("Perhaps out of memory?") == 2
