"""What has to be let pass so that the cluster runs, and the door that the policy itself has to pass."""

from tests.end_to_end.cluster import POLICY, WRITE_POLICY, pod, policy_configmap, reads_legacy


def test_kube_system_is_left_alone(cluster) -> None:
    manifest = pod("machinery", "kube-system", account="default", container=reads_legacy("any"))
    cluster.do("create", "--dry-run=server", "-f", "-", stdin=manifest)


def test_invalid_policy_is_denied_with_every_error(cluster) -> None:
    bad = POLICY.replace("audiences: {allowed", "audiences: {alowed") + "modee: warn\n"
    done = cluster.kubectl(*WRITE_POLICY, stdin=policy_configmap(bad))
    assert done.returncode == 1
    assert 'line 4: tokens.audiences: unknown key "alowed"; did you mean "allowed"?' in done.stderr
    assert f'line {len(bad.splitlines())}: unknown key "modee"; did you mean "mode"?' in done.stderr
    cluster.do(*WRITE_POLICY, "--dry-run=server", stdin=policy_configmap(POLICY))
