"""Each rule, injection, mode and exemption, and the door that the policy itself has to pass.

Whoever runs them imports them, and gives them a fixture `cluster` in which tokenguard is installed with the policy of
`tests.end_to_end.cluster`.
"""

import json

import pytest

from tests.end_to_end.cluster import (
    POLICY,
    configmap,
    created,
    pod,
    reads_legacy,
    refusal,
    secret,
    token_volume,
    tokens,
    warnings,
)
from tests.serving import eventually

API_TOKEN = {"path": "token", "expirationSeconds": 3600}
MOUNTED = {"volumeMounts": [{"name": "token", "mountPath": "/tokens"}]}
AUDIENCE = "https://api.example.com"


def test_the_default_token_of_a_pod_lives_an_hour_in_place_of_a_year(cluster) -> None:
    assert tokens(created(cluster, pod("plain", "lenient", automountServiceAccountToken=True)))[
        "kube-api-access"
    ] == API_TOKEN  # fmt: skip


def test_a_token_is_injected_where_the_policy_says_so(cluster) -> None:
    spec = created(cluster, pod("injected"))
    vault = {"path": "token", "expirationSeconds": 1800, "audience": "https://vault.example.com"}
    assert tokens(spec) == {"kube-api-access": API_TOKEN, "tokenguard-vault": vault}
    [container] = spec["containers"]
    assert container["env"] == [{"name": "VAULT_TOKEN_PATH", "value": "/var/run/secrets/tokens/vault/token"}]


def test_an_injection_that_there_is_not_is_refused(cluster) -> None:
    told = refusal(cluster, pod("asks", annotations={"tokenguard/inject": "vaullt"}))
    assert "inject: " in told
    assert '"vaullt"' in told


def test_a_pod_that_reads_a_legacy_token_is_refused_and_told_what_to_do(cluster) -> None:
    told = refusal(cluster, pod("legacy", container=reads_legacy()))
    assert 'spec.containers[0].env[0] reads the long-lived token in Secret "app-token"' in told
    assert "mount a projected token instead" in told
    assert "see 'tokenguard rules legacy-token-reference'" in told


def test_an_exempted_account_may_still_read_it(cluster) -> None:
    assert created(cluster, pod("exempt", account="jenkins", container=reads_legacy()))["containers"][0]["env"][0]


def test_where_the_policy_says_patch_a_legacy_volume_becomes_a_projected_one(cluster) -> None:
    volume = {"name": "token", "secret": {"secretName": "app-token"}}
    spec = created(cluster, pod("mended", "lenient", volumes=[volume], container=MOUNTED))
    [mended] = [volume for volume in spec["volumes"] if volume["name"] == "token"]
    assert "secret" not in mended
    assert "token" in tokens(spec)


def test_a_token_that_lives_too_long_is_capped_and_its_author_is_warned(cluster) -> None:
    manifest = pod("long", volumes=[token_volume(audience=AUDIENCE, expirationSeconds=86400)])
    assert "Warning: token-expiration: spec.volumes[0]" in warnings(cluster, manifest)
    stored = json.loads(cluster.do("get", "pod", "long", "-n", "shop", "-o", "json"))["spec"]
    assert tokens(stored)["token"]["expirationSeconds"] == 3600


@pytest.mark.parametrize(
    ("audience", "expected"),
    [("https://api.example.org", "is made out to"), (None, "names no audience")],
    ids=["not allowed", "none"],
)
def test_a_token_for_nobody_or_for_the_wrong_one_is_refused(cluster, audience, expected) -> None:
    source = {"audience": audience} if audience else {}
    told = refusal(cluster, pod("astray", volumes=[token_volume(**source)]))
    assert "token-audience: spec.volumes[0].projected.sources[0]" in told
    assert expected in told


SUBPATH = {
    "volumes": [token_volume(audience=AUDIENCE)],
    "container": {"volumeMounts": [{"name": "token", "mountPath": "/t", "subPath": "token"}]},
}
HOSTPATH = {"volumes": [{"name": "node", "hostPath": {"path": "/var/lib/kubelet/pods"}}]}
OWN_TOKEN = {"automountServiceAccountToken": True}


@pytest.mark.parametrize(
    ("rule", "spec"), [("token-subpath", SUBPATH), ("kubelet-hostpath", HOSTPATH)], ids=["subpath", "hostpath"]
)
def test_what_is_warned_of_in_one_namespace_is_refused_in_a_stricter_one(cluster, rule, spec) -> None:
    assert f"Warning: {rule}: " in warnings(cluster, pod(rule, **spec))
    assert f"{rule}: " in refusal(cluster, pod(rule, "strict", **OWN_TOKEN, **spec))


def test_a_token_for_the_api_server_goes_to_who_asks_for_it_alone(cluster) -> None:
    assert "api-token-automount: " in refusal(cluster, pod("unasked", "strict"))
    assert tokens(created(cluster, pod("asked", "strict", **OWN_TOKEN))) == {"kube-api-access": API_TOKEN}
    assert tokens(created(cluster, pod("removed", "lenient"))) == {}


def test_mode_warn_changes_and_refuses_nothing(cluster) -> None:
    manifest = pod("let-pass", "warned", container=reads_legacy())
    assert "would be rejected" in warnings(cluster, manifest)
    stored = json.loads(cluster.do("get", "pod", "let-pass", "-n", "warned", "-o", "json"))["spec"]
    assert tokens(stored)["kube-api-access"]["expirationSeconds"] == 3607


def test_a_new_legacy_secret_is_refused_and_another_secret_is_not(cluster) -> None:
    assert "legacy-token-secret: " in refusal(cluster, secret("new-token", "shop"))
    cluster.do("create", "secret", "generic", "database", "-n", "shop", "--from-literal=password=x")


def test_tokens_that_are_asked_for_by_hand_are_judged(cluster) -> None:
    assert cluster.do("create", "token", "app", "-n", "shop").count(".") == 2
    for flag, rule in (
        ("--duration=48h", "token-request-expiration"),
        ("--audience=https://x.org", "token-request-audience"),
    ):
        done = cluster.kubectl("create", "token", "app", "-n", "shop", flag)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{rule}: " in done.stderr
    done = cluster.kubectl("create", "token", "app", "-n", "strict")
    assert "token-request-binding: " in done.stderr


def deployment(name, container, replicas=1):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod(name, container=container)["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": name, "namespace": "shop"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def test_a_deployments_author_is_warned_of_what_its_pods_will_meet(cluster) -> None:
    told = warnings(cluster, deployment("refused", reads_legacy()))
    assert "Warning: legacy-token-reference: spec.template.spec.containers[0].env[0]" in told
    if cluster.has_controllers:
        said = ("get", "events", "-n", "shop", "--field-selector=involvedObject.kind=ReplicaSet,reason=FailedCreate")
        eventually(lambda: "legacy-token-reference: spec.containers[0].env[0]" in cluster.do(*said))


def test_the_pods_that_a_controller_makes_are_judged_and_mended(cluster) -> None:
    if not cluster.has_controllers:
        pytest.skip("needs kube-controller-manager")
    cluster.do("create", "-f", "-", stdin=deployment("mended", {}))
    said = ("get", "pods", "-n", "shop", "-l", "app=mended", "-o", "json")
    [made] = eventually(lambda: json.loads(cluster.do(*said))["items"])
    assert tokens(made["spec"])["kube-api-access"] == API_TOKEN
    assert "tokenguard-vault" in tokens(made["spec"])


def test_an_ephemeral_container_is_judged_for_what_it_adds(cluster) -> None:
    created(cluster, pod("debugged"))

    def add(**more):
        container = {"name": "debugger", "image": "registry.k8s.io/pause:3.10", **more}
        patch = json.dumps({"spec": {"ephemeralContainers": [container]}})
        return cluster.kubectl(
            "patch", "pod", "debugged", "-n", "shop", "--subresource=ephemeralcontainers", "-p", patch
        )

    refused = add(**reads_legacy())
    assert refused.returncode == 1
    assert "spec.ephemeralContainers[0].env[0] reads the long-lived token" in refused.stderr
    assert add().returncode == 0


def test_a_dry_run_is_told_what_would_happen(cluster) -> None:
    manifest = pod("dry", container=reads_legacy())
    done = cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest)
    assert "legacy-token-reference: " in done.stderr


def test_kube_system_is_left_alone(cluster) -> None:
    manifest = pod("machinery", "kube-system", account="default", container=reads_legacy("any"))
    cluster.do("create", "--dry-run=server", "-f", "-", stdin=manifest)


def test_a_bad_policy_is_refused_at_the_door_with_every_mistake_and_its_line(cluster) -> None:
    meta = {"name": "token-policy", "namespace": "tokenguard", "labels": {"tokenguard/policy": "true"}}
    bad = POLICY.replace("audiences: {allowed", "audiences: {alowed") + "modee: warn\n"
    done = cluster.kubectl("apply", "-f", "-", stdin=configmap(meta, bad))
    assert done.returncode == 1
    assert 'line 4: tokens.audiences.alowed: unknown key; did you mean "allowed"?' in done.stderr
    assert f'line {len(bad.splitlines())}: modee: unknown key; did you mean "mode"?' in done.stderr
    cluster.do("apply", "--dry-run=server", "-f", "-", stdin=configmap(meta, POLICY))
