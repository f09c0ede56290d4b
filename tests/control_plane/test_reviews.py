"""What a real API server makes of the webhook's answers."""

import copy
import json

import yaml

from tests.control_plane.conftest import clients, registered_webhook
from tests.serving import POLICY, eventually, serve

SEED = """
- name: token
  projected:
    sources:
    - serviceAccountToken:
        path: token
        expirationSeconds: 1800
        audience: https://api.spicybiryaniwala.shop
"""


def pod(name, *, namespace="demo", volumes=(), account="app", **container):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "serviceAccountName": account,
            "containers": [{"name": "app", "image": "nginx", **container}],
            "volumes": list(volumes),
        },
    }


def created(plane, manifest):
    plane.do("create", "-f", "-", stdin=manifest)
    meta = manifest["metadata"]
    return json.loads(plane.do("get", "pod", meta["name"], "-n", meta["namespace"], "-o", "json"))["spec"]


def tokens(spec):
    return {
        volume["name"].split("-x")[0]
        if not volume["name"].startswith("kube-api-access")
        else "kube-api-access": source["serviceAccountToken"]
        for volume in spec.get("volumes", [])
        for source in volume.get("projected", {}).get("sources", [])
        if "serviceAccountToken" in source
    }


def test_plain_pod_gets_an_injected_token_and_a_capped_one(guarded_plane) -> None:
    plane, _ = guarded_plane
    spec = created(plane, pod("plain"))
    assert tokens(spec) == {
        "kube-api-access": {"path": "token", "expirationSeconds": 3600},
        "tokenguard-vault": {"path": "token", "expirationSeconds": 1800, "audience": "https://vault.example.com"},
    }
    [container] = spec["containers"]
    assert container["env"] == [{"name": "VAULT_TOKEN_PATH", "value": "/var/run/secrets/tokens/vault/token"}]


def test_pod_that_reads_a_legacy_token_is_denied_as_designed(guarded_plane) -> None:
    plane, server = guarded_plane
    env = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "app-token", "key": "token"}}}]
    done = plane.kubectl("create", "-f", "-", stdin=pod("legacy", env=env))
    assert done.returncode == 1
    denial = [line for line in server.audit if line["decision"] == "denied" and line.get("name") == "legacy"][-1]
    assert done.stderr.strip().endswith(
        'legacy-token-reference: spec.containers[0].env[0] reads the long-lived token in Secret "app-token"; '
        "mount a projected token instead\n"
        f"[tokenguard {denial['id']}: see 'tokenguard rules legacy-token-reference']"
    )


def test_volume_of_the_seed_is_admitted_unchanged(guarded_plane) -> None:
    plane, _ = guarded_plane
    volumes = yaml.safe_load(SEED)
    spec = created(
        plane, pod("seed", volumes=copy.deepcopy(volumes), volumeMounts=[{"name": "token", "mountPath": "/t"}])
    )
    [admitted] = [volume for volume in spec["volumes"] if volume["name"] == "token"]
    admitted["projected"].pop("defaultMode")
    assert admitted == volumes[0]


def test_long_token_of_an_author_is_capped_with_a_warning(guarded_plane) -> None:
    plane, _ = guarded_plane
    source = {"serviceAccountToken": {"path": "token", "audience": "aws", "expirationSeconds": 86400}}
    manifest = pod("long", volumes=[{"name": "aws", "projected": {"sources": [source]}}])
    done = plane.kubectl("create", "-f", "-", stdin=manifest)
    assert done.returncode == 0
    assert "Warning: token-expiration: spec.volumes[0]" in done.stderr
    assert "capped to 3600s" in done.stderr


def test_removed_api_token_stays_removed_on_reinvocation(guarded_plane) -> None:
    plane, _ = guarded_plane
    spec = created(plane, pod("quiet", namespace="lenient", account="default"))
    assert spec["automountServiceAccountToken"] is False
    assert "volumes" not in spec
    assert "volumeMounts" not in spec["containers"][0]


def test_replaced_secret_volume_keeps_its_files(guarded_plane) -> None:
    plane, _ = guarded_plane
    items = [{"key": "token", "path": "jwt"}, {"key": "ca.crt", "path": "ca.pem", "mode": 0o400}]
    secret = {"secretName": "app-token", "items": items, "defaultMode": 0o440}
    manifest = pod(
        "replaced",
        namespace="lenient",
        volumes=[{"name": "sa", "secret": secret}],
        volumeMounts=[{"name": "sa", "mountPath": "/sa"}],
    )
    spec = created(plane, manifest)
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == "sa"]
    api_server = {"path": "jwt", "audience": "https://kubernetes.default.svc", "expirationSeconds": 3600}
    assert volume == {
        "name": "sa",
        "projected": {
            "defaultMode": 0o440,
            "sources": [
                {"serviceAccountToken": api_server},
                {
                    "configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca.crt", "path": "ca.pem", "mode": 0o400}],
                    }
                },
            ],
        },
    }


def test_deployment_is_warned_about_its_pods(guarded_plane) -> None:
    plane, _ = guarded_plane
    template = pod("x", envFrom=[{"secretRef": {"name": "app-token"}}])
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": "demo"},
        "spec": {
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {"metadata": {"labels": {"app": "shop"}}, "spec": template["spec"]},
        },
    }
    done = plane.kubectl("apply", "-f", "-", stdin=deployment)
    assert done.returncode == 0
    assert "Warning: legacy-token-reference: spec.template.spec.containers[0].envFrom[0]" in done.stderr


def test_ephemeral_container_is_evaluated_for_what_it_adds(guarded_plane) -> None:
    plane, _ = guarded_plane
    plane.do("create", "-f", "-", stdin=pod("debugged"))
    harmless = {"name": "one", "image": "busybox"}
    spy = {"name": "spy", "image": "busybox", "envFrom": [{"secretRef": {"name": "app-token"}}]}

    def add(*containers):
        patch = json.dumps({"spec": {"ephemeralContainers": list(containers)}})
        return plane.kubectl("patch", "pod", "debugged", "--subresource=ephemeralcontainers", "-p", patch)

    assert add(harmless).returncode == 0
    refused = add(harmless, spy)
    assert refused.returncode == 1
    assert "spec.ephemeralContainers[1].envFrom[0] reads the long-lived token" in refused.stderr


def test_decision_is_in_the_api_servers_audit_log(guarded_plane) -> None:
    plane, _ = guarded_plane
    plane.kubectl("create", "-f", "-", stdin=pod("audited", envFrom=[{"secretRef": {"name": "app-token"}}]))
    events = [json.loads(line) for line in plane.audit.splitlines()]
    annotations = [
        event.get("annotations", {}) for event in events if event.get("objectRef", {}).get("resource") == "pods"
    ]
    denied = [
        annotation for annotation in annotations if annotation.get("all.validate.tokenguard.svc/decision") == "denied"
    ][-1]
    assert denied["all.validate.tokenguard.svc/rules"] == "legacy-token-reference"
    assert denied["pods.mutate.tokenguard.svc/decision"] == "patched"
    assert len(denied["all.validate.tokenguard.svc/policy"]) == 12


def test_dry_run_is_evaluated(guarded_plane) -> None:
    plane, server = guarded_plane
    done = plane.kubectl(
        "create", "-f", "-", "--dry-run=server", stdin=pod("dry", envFrom=[{"secretRef": {"name": "app-token"}}])
    )
    assert done.returncode == 1
    assert [line["dryRun"] for line in server.audit if line.get("name") == "dry"] == [True, True]


def test_author_sees_why_a_review_was_not_read(plane, tmp_path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "objects.yaml").write_text("")
    flags = ["--policy", str(tmp_path / "policy.yaml"), "--objects", str(tmp_path / "objects.yaml")]
    with (
        serve(tmp_path / "run", *flags, "--max-body-bytes", "1024") as server,
        registered_webhook(plane, "reads-little", clients(server, "/validate")) as create,
    ):
        said = eventually(create)
    assert 'failed calling webhook "policy.validate.tokenguard.svc"' in said
    assert "the review exceeds 1024 bytes" in said
