"""Pods are created while a worker, a container or a node of tokenguard ends, and memory while they are denied."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.control_plane.pod_load import pods_created
from tests.end_to_end.cluster import pod, reads_legacy
from tests.end_to_end.programs import kill_container
from tests.end_to_end.running import MINUTES, PODS
from tests.serving import eventually

KILL_WORKER = """
import os, pathlib, signal
for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    if path.read_text().rpartition(")")[2].split()[1] == "1":
        os.kill(int(path.parent.name), signal.SIGKILL)
        print(path.parent.name)
"""
"""Kills the children of a container's first process, and prints their process ids."""
PEAK_MEMORY = """
import pathlib
for name in ("memory.peak", "memory/memory.max_usage_in_bytes"):
    if (file := pathlib.Path("/sys/fs/cgroup", name)).exists():
        print(file.read_text().strip())
"""
"""Prints the most memory that the container has had, in bytes, by cgroup v2 or v1."""
MIB = 1 << 20
RESTART_NODE = os.environ.get("TOKENGUARD_E2E_RESTART_NODE")
NO_ANSWER = (
    "EOF",
    "connection reset",
    "connection refused",
    "no route to host",
    "i/o timeout",
    "context deadline exceeded",
    "the mutating webhook did not run",
)
"""What denies a pod whose review was sent to a stopped replica: no other replica is called."""


def python(cluster, replica: str, program: str) -> str:
    """Run a program in the container of a replica, and return what it prints."""
    return cluster.do("exec", replica, "-n", "tokenguard", "--", "python", "-c", program)


def unexplained(failures: list[str]) -> list[str]:
    return [failure for failure in failures if not any(reason in failure for reason in NO_ANSWER)]


@pytest.mark.covers("failure-modes: worker killed")
def test_killed_worker_fails_the_pod_in_flight_at_most(cluster) -> None:
    replica = next(iter(cluster.replicas()))
    with pods_created(cluster, "killed") as loop:
        killed = python(cluster, replica, KILL_WORKER)
        cluster.wait_for_rollout()
        loop.reach(PODS)
    assert len(killed.split()) == 1
    assert len(loop.failures) <= 1, loop.failures
    assert unexplained(loop.failures) == []


@pytest.mark.covers("failure-modes: container killed")
def test_killed_container_fails_pods_until_it_is_noticed_only(cluster) -> None:
    replica = cluster.pods()[0]
    name = replica["metadata"]["name"]
    with pods_created(cluster, "container") as loop:
        kill_container(cluster, replica)
        eventually(lambda: is_restarted(cluster, name), patience=2 * MINUTES)
        failures = len(loop.failures)
        loop.reach(PODS)
    assert unexplained(loop.failures) == []
    assert loop.failures[failures:] == []


def is_restarted(cluster, name: str) -> bool:
    """Return whether a replica is ready again after its container has ended, or is replaced by another one."""
    statuses = {
        item["metadata"]["name"]: status for item in cluster.pods() for status in item["status"]["containerStatuses"]
    }
    return name not in statuses or (statuses[name]["restartCount"] > 0 and statuses[name]["ready"])


@pytest.mark.covers("failure-modes: node restarted")
def test_restarted_node_fails_pods_until_it_is_noticed_only(cluster, watched) -> None:
    if not RESTART_NODE:
        pytest.skip("needs a command that restarts a node: make e2e RESTART_NODE='docker restart'")
    other = cluster.do("get", "pod", watched, "-n", "shop", "-o", "jsonpath={.spec.nodeName}")
    replica = max(cluster.pods(), key=lambda item: item["spec"]["nodeName"] != other)
    node, name = replica["spec"]["nodeName"], replica["metadata"]["name"]
    with pods_created(cluster, "node") as loop:
        subprocess.run([*RESTART_NODE.split(), node], check=True, timeout=2 * MINUTES)
        eventually(lambda: is_restarted(cluster, name), patience=5 * MINUTES)
        cluster.wait_for_rollout()
        failures = len(loop.failures)
        loop.reach(PODS)
    assert unexplained(loop.failures) == []
    assert loop.failures[failures:] == []


@pytest.mark.covers("failure-modes: Events")
@pytest.mark.covers("threat-model: Event flood")
def test_denied_pods_with_long_owner_names_keep_memory_bounded(cluster) -> None:
    def deny(number: int) -> str:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{number}".ljust(MIB, "a"), "uid": f"{number}"}
        manifest = pod(f"long-{number}", "strict", container=reads_legacy())
        manifest["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
        status, answer = cluster.ask("POST", "/api/v1/namespaces/strict/pods", manifest)
        assert status == 403, answer
        message: str = answer["message"]
        return message

    before = {item["metadata"]["uid"]: restarts(item) for item in cluster.pods()}
    with ThreadPoolExecutor(16) as threads:
        messages = list(threads.map(deny, range(160)))
    assert all("legacy-token-reference: " in message for message in messages)
    assert {item["metadata"]["uid"]: restarts(item) for item in cluster.pods()} == before
    peaks = {replica: int(python(cluster, replica, PEAK_MEMORY)) for replica in cluster.replicas()}
    assert max(peaks.values()) < 256 * MIB, peaks  # half of the limit


def restarts(replica) -> int:
    [status] = replica["status"]["containerStatuses"]
    return status["restartCount"]
