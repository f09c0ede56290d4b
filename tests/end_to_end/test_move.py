"""tokenguard moves to another namespace and back, by the commands of docs/install.md."""

from tests.control_plane.pod_load import pods_created
from tests.end_to_end.operator import MOVE, exchange_namespaces, run_commands, shown_commands, write_kustomization
from tests.end_to_end.running import PODS


def test_move_to_another_namespace_and_back_fails_no_pod(cluster) -> None:
    commands = shown_commands(MOVE)
    with pods_created(cluster, "move") as loop:
        write_kustomization(cluster, cluster.image, "security")
        run_commands(cluster, commands)
        loop.reach(PODS)
        assert "tokenguard" not in cluster.existing()
        write_kustomization(cluster, cluster.image)
        run_commands(cluster, [exchange_namespaces(command) for command in commands])
        loop.reach(2 * PODS)
    assert loop.failures == []
    assert "security" not in cluster.existing()
