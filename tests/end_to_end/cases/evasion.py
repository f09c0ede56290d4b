"""Ways around the evaluation that somebody may try: see docs/threat-model.md."""

import pytest

from tests.end_to_end.cluster import acting, created, pod, reads_legacy, refusal, secret, token_volume
from tests.serving import eventually

READS = "legacy-token-reference: spec.containers[0].env[0] reads the long-lived token in Secret"


@pytest.mark.covers("threat-model: pod before its Secret")
def test_pod_created_before_its_legacy_secret_never_gets_it(cluster) -> None:
    created(cluster, pod("early", container=reads_legacy("comes-later")))
    assert "legacy-token-secret: " in refusal(cluster, secret("comes-later", "shop"))
    assert cluster.kubectl("get", "secret", "comes-later", "-n", "shop").returncode == 1


@pytest.mark.covers("threat-model: pod before its Secret")
def test_secret_of_another_type_cannot_become_a_legacy_one(cluster) -> None:
    cluster.do("create", "secret", "generic", "turns", "-n", "shop")
    turned = cluster.kubectl("replace", "-f", "-", stdin=secret("turns", "shop"))
    assert turned.returncode == 1
    assert "type: Invalid value" in turned.stderr
    forced = cluster.kubectl("replace", "--force", "-f", "-", stdin=secret("turns", "shop"))
    assert "legacy-token-secret: " in forced.stderr


@pytest.mark.covers("threat-model: labels and annotations")
def test_labels_and_annotations_of_a_pod_evade_nothing(cluster) -> None:
    annotations = {"tokenguard/skip-containers": "app", "tokenguard/api-token": "true", "tokenguard/exempt": "true"}
    manifest = pod("adorned", container=reads_legacy(), annotations=annotations)
    manifest["metadata"]["labels"] = {
        "tokenguard/policy": "true", "app.kubernetes.io/name": "tokenguard", "tokenguard": "ignore",
        "kubernetes.io/metadata.name": "kube-system", "app.kubernetes.io/component": "webhooks",
    }  # fmt: skip
    assert READS in refusal(cluster, manifest)


@pytest.mark.covers("threat-model: namespace relabelled")
def test_namespace_label_with_an_excluded_name_is_rejected(cluster) -> None:
    cluster.kubectl("label", "--overwrite", "namespace", "shop", "kubernetes.io/metadata.name=kube-system")
    named = ("get", "namespace", "shop", "-o", r"jsonpath={.metadata.labels.kubernetes\.io/metadata\.name}")
    eventually(lambda: cluster.do(*named) == "shop")
    assert READS in refusal(cluster, pod("disguised", container=reads_legacy()))


@pytest.mark.covers("threat-model: expensive pod")
def test_pod_of_thousands_of_volumes_of_one_name_is_answered(cluster) -> None:
    path, count = "/var/run/secrets/kubernetes.io/serviceaccount", 5_000
    own = token_volume("kube-api-access-1", expirationSeconds=3607)
    mounts = [{"name": "kube-api-access-1", "mountPath": path}] * count
    manifest = pod("repeated", "lenient", volumes=[own] * count, container={"volumeMounts": mounts})
    refused = cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest).stderr
    assert "Duplicate value" in refused or "tokenguard" in refused, refused[:1000]
    assert "deadline exceeded" not in refused
    assert "Timeout" not in refused


EXEMPT = "system:serviceaccount:legacy-distribution:controller"


@pytest.mark.covers("threat-model: impersonation")
def test_role_edit_impersonates_accounts_of_its_namespace_only(cluster) -> None:
    edits = ("create", "rolebinding", "edits", "-n", "shop", "--clusterrole=edit", "--serviceaccount=shop:app")
    cluster.do(*edits)
    mine = f"--token={cluster.do('create', 'token', 'app', '-n', 'shop').strip()}"
    eventually(lambda: "legacy-token-secret: " in made_for_nobody(cluster, mine))
    jenkins = "system:serviceaccount:shop:jenkins"
    assert f'User "{jenkins}" cannot create resource' in made_for_nobody(cluster, mine, f"--as={jenkins}")
    assert "cannot impersonate resource" in made_for_nobody(cluster, mine, f"--as={EXEMPT}")
    assert made_for_nobody(cluster, *acting(EXEMPT)) == "", "a user who may impersonate an exempt account is exempt"


def made_for_nobody(cluster, *flags: str) -> str:
    """Try whether a legacy Secret could be made with these flags, and return what kubectl complains of."""
    call = ("create", "--dry-run=server", "--validate=false", "-f", "-", *flags)
    return cluster.kubectl(*call, stdin=secret("for-nobody", "shop")).stderr
