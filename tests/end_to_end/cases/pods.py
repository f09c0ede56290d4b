"""Pods: each rule, injection, mode and exemption."""

import json

import pytest

from tests.end_to_end.cluster import (
    created,
    pod,
    reads_legacy,
    refusal,
    token_volume,
    tokens,
    warnings,
)

API_TOKEN = {"path": "token", "expirationSeconds": 3600}
MOUNTED = {"volumeMounts": [{"name": "token", "mountPath": "/tokens"}]}
AUDIENCE = "https://api.example.com"


def test_default_token_of_a_pod_is_capped_to_an_hour(cluster) -> None:
    assert tokens(created(cluster, pod("plain", "lenient", automountServiceAccountToken=True)))[
        "kube-api-access"
    ] == API_TOKEN  # fmt: skip


def test_api_server_token_mounted_by_hand_is_capped_not_denied(cluster) -> None:
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    container = {"volumeMounts": [{"name": "token", "mountPath": path, "readOnly": True}]}
    volumes = [token_volume(expirationSeconds=3607)]
    manifest = pod("by-hand", "lenient", automountServiceAccountToken=False, volumes=volumes, container=container)
    warned = warnings(cluster, manifest)
    assert "Warning: token-expiration: spec.volumes[0]" in warned
    assert "token-audience" not in warned
    stored = json.loads(cluster.do("get", "pod", "by-hand", "-n", "lenient", "-o", "json"))["spec"]
    assert tokens(stored) == {"token": API_TOKEN}


def test_token_is_injected_by_the_policy(cluster) -> None:
    spec = created(cluster, pod("injected"))
    vault = {"path": "token", "expirationSeconds": 1800, "audience": "https://vault.example.com"}
    assert tokens(spec) == {"kube-api-access": API_TOKEN, "tokenguard-vault": vault}
    [container] = spec["containers"]
    assert container["env"] == [{"name": "VAULT_TOKEN_PATH", "value": "/var/run/secrets/tokens/vault/token"}]


def test_unknown_injection_is_denied(cluster) -> None:
    message = refusal(cluster, pod("asks", annotations={"tokenguard/inject": "vaullt"}))
    assert "inject: " in message
    assert '"vaullt"' in message


def test_pod_that_reads_a_legacy_token_is_denied_with_advice(cluster) -> None:
    message = refusal(cluster, pod("legacy", container=reads_legacy()))
    assert 'spec.containers[0].env[0] reads the long-lived token in Secret "app-token"' in message
    assert "mount a projected token instead" in message
    assert "see 'tokenguard rules legacy-token-reference'" in message


def test_exempt_account_may_read_its_own_legacy_token(cluster) -> None:
    manifest = pod("exempt", account="jenkins", container=reads_legacy("jenkins-token"))
    assert created(cluster, manifest)["containers"][0]["env"][0]


@pytest.mark.covers("threat-model: another account's token")
def test_exempt_account_other_accounts_token_is_refused(cluster) -> None:
    message = refusal(cluster, pod("borrows", account="jenkins", container=reads_legacy("app-token")))
    assert 'spec.containers[0].env[0] reads the long-lived token of "app" in Secret "app-token"' in message


def test_legacy_volume_is_patched_to_a_projected_one(cluster) -> None:
    volume = {"name": "token", "secret": {"secretName": "app-token"}}
    spec = created(cluster, pod("patched", "lenient", volumes=[volume], container=MOUNTED))
    [patched] = [volume for volume in spec["volumes"] if volume["name"] == "token"]
    assert "secret" not in patched
    assert "token" in tokens(spec)


def test_long_token_is_capped_with_a_warning(cluster) -> None:
    manifest = pod("long", volumes=[token_volume(audience=AUDIENCE, expirationSeconds=86400)])
    assert "Warning: token-expiration: spec.volumes[0]" in warnings(cluster, manifest)
    stored = json.loads(cluster.do("get", "pod", "long", "-n", "shop", "-o", "json"))["spec"]
    assert tokens(stored)["token"]["expirationSeconds"] == 3600


@pytest.mark.parametrize(
    ("audience", "expected"),
    [("https://api.example.org", "has audience"), (None, "has no audience")],
    ids=["not allowed", "none"],
)
def test_token_without_or_with_a_wrong_audience_is_denied(cluster, audience, expected) -> None:
    source = {"audience": audience} if audience else {}
    message = refusal(cluster, pod("astray", volumes=[token_volume(**source)]))
    assert "token-audience: spec.volumes[0].projected.sources[0]" in message
    assert expected in message


SUBPATH = {
    "volumes": [token_volume(audience=AUDIENCE)],
    "container": {"volumeMounts": [{"name": "token", "mountPath": "/t", "subPath": "token"}]},
}
HOSTPATH = {"volumes": [{"name": "node", "hostPath": {"path": "/var/lib/kubelet/pods"}}]}
OWN_TOKEN = {"automountServiceAccountToken": True}


@pytest.mark.parametrize(
    ("rule", "spec"), [("token-subpath", SUBPATH), ("kubelet-hostpath", HOSTPATH)], ids=["subpath", "hostpath"]
)
def test_stricter_namespace_denies_what_another_warns_about(cluster, rule, spec) -> None:
    assert f"Warning: {rule}: " in warnings(cluster, pod(rule, **spec))
    assert f"{rule}: " in refusal(cluster, pod(rule, "strict", **OWN_TOKEN, **spec))


def test_api_token_is_mounted_only_on_request(cluster) -> None:
    assert "api-token-automount: " in refusal(cluster, pod("unasked", "strict"))
    assert tokens(created(cluster, pod("requested", "strict", **OWN_TOKEN))) == {"kube-api-access": API_TOKEN}
    assert tokens(created(cluster, pod("removed", "lenient"))) == {}


def test_mode_warn_patches_and_denies_nothing(cluster) -> None:
    manifest = pod("let-pass", "warned", container=reads_legacy())
    assert "would be denied" in warnings(cluster, manifest)
    stored = json.loads(cluster.do("get", "pod", "let-pass", "-n", "warned", "-o", "json"))["spec"]
    assert tokens(stored)["kube-api-access"]["expirationSeconds"] == 3607


def test_dry_run_shows_the_decision(cluster) -> None:
    manifest = pod("dry", container=reads_legacy())
    done = cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest)
    assert "legacy-token-reference: " in done.stderr


@pytest.mark.parametrize("path", ["/proc/1/root", "/proc/1/root/var/lib", "/proc/self/cwd"])
@pytest.mark.covers("threat-model: hostPath through /proc")
def test_hostpath_through_proc_is_denied_under_reject(cluster, path) -> None:
    message = refusal(cluster, pod("leads-out", "strict", volumes=[{"name": "node", "hostPath": {"path": path}}]))
    assert f'kubelet-hostpath: spec.volumes[0].hostPath is "{path}", which leads to' in message


def test_long_termination_warning_reaches_kubectl(cluster) -> None:
    message = warnings(cluster, pod("drains-long", "monitoring", terminationGracePeriodSeconds=43200))
    assert (
        "Warning: token-expiration: spec.terminationGracePeriodSeconds is 43200, but a token may expire 720" in message
    )
    assert warnings(cluster, pod("drains-quickly", "monitoring", terminationGracePeriodSeconds=720)) == ""
