"""The last file of the folder: tokenguard is removed from the cluster."""

from tests.control_plane.pod_load import pods_created
from tests.end_to_end.cluster import created, pod, tokens
from tests.end_to_end.running import MINUTES, PODS
from tests.serving import eventually


def test_uninstall_fails_no_pod_and_leaves_pods_unchanged(cluster) -> None:
    with pods_created(cluster, "uninstall", evaluated=False) as loop:
        cluster.uninstall()
        eventually(lambda: "tokenguard" not in cluster.existing(), patience=3 * MINUTES)
        loop.reach(PODS)
    assert loop.failures == []
    assert {token["expirationSeconds"] for token in tokens(created(cluster, pod("after"))).values()} == {3607}
