"""`kubectl debug`: evaluated for what it adds, so that what was there before the policy can still be debugged."""

import json

import pytest

from tests.end_to_end.cluster import created, pod, reads_legacy, tokens

IMAGE = ("--image=registry.k8s.io/pause:3.10", "--profile=general")
READS = "reads the long-lived token in Secret"
FROM_BEFORE = "before"
"""A pod that reads and mounts a legacy token, and was there before tokenguard came."""


def debug(cluster, what: str, *flags: str, namespace: str = "shop"):
    return cluster.kubectl("debug", what, "-n", namespace, *IMAGE, *flags)


def add(cluster, name: str, namespace: str = "shop", **more):
    """Add an ephemeral container as kubectl does it, but of any kind."""
    container = {"name": f"by-patch-{len(more)}", "image": "registry.k8s.io/pause:3.10", **more}
    patch = json.dumps({"spec": {"ephemeralContainers": [container]}})
    return cluster.kubectl("patch", "pod", name, "-n", namespace, "--subresource=ephemeralcontainers", "-p", patch)


def ephemeral(cluster, name: str, namespace: str = "shop") -> str:
    return cluster.do("get", "pod", name, "-n", namespace, "-o", "jsonpath={.spec.ephemeralContainers[*].name}")


def custom(cluster, tmp_path, container) -> str:
    """Return the flag by which `kubectl debug` is given more of a container."""
    if "--custom" not in cluster.do("debug", "--help"):
        pytest.skip("needs a kubectl whose debug takes --custom")
    (tmp_path / "custom.json").write_text(json.dumps(container))
    return f"--custom={tmp_path / 'custom.json'}"


def test_pod_older_than_the_policy_can_be_debugged(cluster) -> None:
    for name in ("first", "second"):
        done = debug(cluster, FROM_BEFORE, "-c", name, "--target=app")
        assert (done.returncode, "Warning: " in done.stderr) == (0, False)
    assert ephemeral(cluster, FROM_BEFORE).split()[:2] == ["first", "second"]


@pytest.mark.covers("threat-model: kubectl debug")
def test_debugger_that_reads_a_legacy_token_is_denied(cluster, tmp_path) -> None:
    created(cluster, pod("debugged"))
    flag = custom(cluster, tmp_path, reads_legacy())
    for name in ("debugged", FROM_BEFORE):
        refused = debug(cluster, name, "-c", "spy", flag)
        assert refused.returncode == 1
        assert READS in refused.stderr
        assert "legacy-token-reference: spec.ephemeralContainers[" in refused.stderr
        assert "spy" not in ephemeral(cluster, name)
    assert debug(cluster, "debugged", "-c", "harmless").returncode == 0


@pytest.mark.covers("threat-model: another account's token")
def test_debugger_in_exempt_pod_other_accounts_token_is_refused(cluster) -> None:
    created(cluster, pod("exempt-debugged", account="jenkins"))
    refused = add(cluster, "exempt-debugged", **reads_legacy("app-token"))
    assert refused.returncode == 1
    assert 'reads the long-lived token of "app" in Secret "app-token"' in refused.stderr
    assert add(cluster, "exempt-debugged", **reads_legacy("jenkins-token")).returncode == 0


@pytest.mark.covers("threat-model: kubectl debug")
def test_debugger_that_mounts_a_legacy_volume_is_denied(cluster) -> None:
    mounts = [{"name": "held", "mountPath": "/held"}]
    refused = add(cluster, FROM_BEFORE, volumeMounts=mounts)
    assert refused.returncode == 1
    assert "volumeMounts[0] mounts the long-lived token in Secret" in refused.stderr
    assert add(cluster, FROM_BEFORE).returncode == 0


def test_mode_warn_allows_a_debugger_with_warnings(cluster) -> None:
    created(cluster, pod("debugged", "warned"))
    done = add(cluster, "debugged", "warned", **reads_legacy())
    assert done.returncode == 0
    assert f"Warning: legacy-token-reference: spec.ephemeralContainers[0].env[0] {READS}" in done.stderr


def test_debug_copy_has_the_tokens_of_its_original(cluster) -> None:
    original = created(cluster, pod("original"))
    done = debug(cluster, "original", "--copy-to=copy", "-c", "debugger")
    assert (done.returncode, "Warning: " in done.stderr) == (0, False)
    copy = json.loads(cluster.do("get", "pod", "copy", "-n", "shop", "-o", "json"))["spec"]
    assert tokens(copy) == tokens(original)
    mounted = [{mount["name"] for mount in container["volumeMounts"]} for container in copy["containers"]]
    assert len(mounted) == 2
    assert all("tokenguard-vault" in names for names in mounted)


def test_debug_copy_of_an_older_pod_is_denied(cluster) -> None:
    refused = debug(cluster, FROM_BEFORE, "--copy-to=copy-of-before", "-c", "debugger")
    assert refused.returncode == 1
    assert f"spec.containers[0].env[0] {READS}" in refused.stderr


def test_node_debugger_is_evaluated_for_its_host_path(cluster) -> None:
    node = f"node/{cluster.node}"
    done = debug(cluster, node)
    assert done.returncode == 0
    assert 'Warning: kubelet-hostpath: spec.volumes[0].hostPath is "/"' in done.stderr
    refused = debug(cluster, node, namespace="strict")
    assert refused.returncode == 1
    assert "kubelet-hostpath: " in refused.stderr
