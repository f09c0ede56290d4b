"""The commands of docs/install.md on an empty API server: tokenguard is installed, and moves to another namespace."""

import json

import pytest

from tests.control_plane.nodes import RESOLVES_ENDPOINTS, Nodes, in_background
from tests.control_plane.plane import own_plane
from tests.control_plane.pod_load import PODS, pods_created, unexplained
from tests.end_to_end.cluster import is_webhook_called, pod, prepare, reads_legacy, refusal
from tests.end_to_end.operator import INSTALL, MOVE, run_commands, shown_commands, write_kustomization
from tests.serving import eventually


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with own_plane(tmp_path_factory.mktemp("commands-plane"), RESOLVES_ENDPOINTS) as running:
        running.do("create", "serviceaccount", "default", "-n", "default")
        prepare(running)
        yield running


@pytest.fixture(scope="module")
def installation(plane, tmp_path_factory):
    """Install by the three commands; return the nodes, and what denied pods before and after the last command."""
    write_kustomization(plane)
    nodes = Nodes(plane, tmp_path_factory.mktemp("nodes"))
    *without_webhooks, webhooks = shown_commands(INSTALL)
    assert len(without_webhooks) == 2
    with pods_created(plane, "install", evaluated=False) as loop:
        with in_background(nodes.roll_out):
            run_commands(plane, without_webhooks)
        before = list(loop.failures)
        run_commands(plane, [webhooks])
        eventually(lambda: is_webhook_called(plane))
        loop.more(PODS)
    yield nodes, before, loop.failures
    nodes.stop()


def test_three_commands_fail_pods_until_the_ca_is_trusted_only(plane, installation) -> None:
    _, before, failures = installation
    assert before == []
    assert unexplained(failures) == []
    assert "legacy-token-reference: " in refusal(plane, pod("reads", container=reads_legacy()))


def services(plane) -> set[str]:
    """Return the namespaces of the Services that the webhooks call."""
    configurations = json.loads(
        plane.do("get", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "-o", "json")
    )
    return {
        webhook["clientConfig"]["service"]["namespace"]
        for item in configurations["items"]
        for webhook in item["webhooks"]
    }


def test_move_to_another_namespace_fails_no_pod(plane, installation, tmp_path) -> None:
    write_kustomization(plane, namespace="security")
    moved = Nodes(plane, tmp_path, "security")
    *copy, without_webhooks, rollout, webhooks, removal = shown_commands(MOVE)
    try:
        with pods_created(plane, "move") as loop:
            run_commands(plane, copy)
            with in_background(moved.roll_out):
                run_commands(plane, [without_webhooks, rollout])
            assert services(plane) == {"tokenguard"}
            run_commands(plane, [webhooks])
            loop.more(10)  # a pod that is deleted answers for five seconds
            installation[0].stop()
            run_commands(plane, [f"{removal} --wait=false"])  # nobody is there to remove what is in it
            loop.more(PODS)
        assert loop.failures == []
        assert services(plane) == {"security"}
        assert "legacy-token-reference: " in refusal(plane, pod("reads", container=reads_legacy()))
    finally:
        moved.stop()
