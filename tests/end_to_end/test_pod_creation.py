"""Pods are created all the time, and none fails, while tokenguard is installed, restarted, upgraded, drained."""

import os

import pytest

from tests.commands import run_command
from tests.control_plane.pod_load import pods_created
from tests.end_to_end.cluster import pod, reads_legacy, refusal
from tests.end_to_end.running import MINUTES, NOT_TRUSTED_YET, PODS
from tests.serving import eventually


def test_install_denies_pods_until_the_ca_is_trusted_only(cluster) -> None:
    assert [failure for failure in cluster.failed_by_install if NOT_TRUSTED_YET not in failure] == []
    assert "legacy-token-reference: " in refusal(cluster, pod("reads", container=reads_legacy()))


def test_rollout_restart_fails_no_pod(cluster) -> None:
    before = cluster.replicas()
    with pods_created(cluster, "restart") as loop:
        cluster.do("rollout", "restart", "-n", "tokenguard", "deployment/tokenguard")
        cluster.wait_for_rollout()
        loop.reach(PODS)
    assert loop.failures == []
    assert not {*before} & {*cluster.replicas()}


def test_deleted_replica_fails_no_pod(cluster) -> None:
    deleted = next(iter(cluster.replicas()))
    with pods_created(cluster, "deleted") as loop:
        cluster.do("delete", "pod", deleted, "-n", "tokenguard", "--wait=false")
        eventually(lambda: deleted not in cluster.replicas(), patience=2 * MINUTES)
        cluster.wait_for_rollout()
        loop.reach(PODS)
    assert loop.failures == []


@pytest.mark.parametrize("flags", [(), ("--ca",)], ids=["certificate", "CA"])
def test_rotation_across_replicas_fails_no_pod(cluster, flags) -> None:
    kubeconfig = ("--kubeconfig", str(cluster.folder / "kubeconfig"))
    with pods_created(cluster, f"rotate-{len(flags)}") as loop:
        done = run_command("certs", "rotate", *flags, *kubeconfig)
        loop.reach(PODS)
    assert done.returncode == 0, done.stderr
    assert loop.failures == []
    assert run_command("certs", "status", *kubeconfig).returncode == 0


def test_upgrade_and_rollback_fail_no_pod(cluster) -> None:
    image = os.environ.get("TOKENGUARD_E2E_NEXT_IMAGE")
    if not image:
        pytest.skip("needs a second image: make e2e NEXT_IMAGE=...")
    with pods_created(cluster, "upgrade") as loop:
        cluster.install(image)
        upgraded = {*cluster.replicas().values()}
        loop.reach(PODS)
        cluster.do("rollout", "undo", "-n", "tokenguard", "deployment/tokenguard")
        cluster.wait_for_rollout()
        loop.reach(2 * PODS)
    assert loop.failures == []
    assert upgraded == {image}
    assert {*cluster.replicas().values()} == {cluster.image}


def test_drained_node_fails_no_pod(cluster) -> None:
    nodes = [node["metadata"]["name"] for node in cluster.items("nodes") if not node["spec"].get("taints")]
    if len(nodes) < 2:
        pytest.skip("needs two nodes without a taint")
    try:
        with pods_created(cluster, "drain") as loop:
            flags = ("--pod-selector=app.kubernetes.io/name=tokenguard", "--delete-emptydir-data", "--timeout=55s")
            cluster.do("drain", nodes[0], *flags)
            cluster.wait_for_rollout()
            loop.reach(PODS)
    finally:
        cluster.do("uncordon", nodes[0])
    assert loop.failures == []
