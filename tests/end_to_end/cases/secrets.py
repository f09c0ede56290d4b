"""Tokens that never expire: no Secret gives one, but to those who are exempt."""

import json
from base64 import b64encode

import pytest

from tests.end_to_end.cluster import (
    INVALID_SINCE,
    LEGACY,
    NEW_TOKEN,
    acting,
    filled,
    patch_secret,
    refusal,
    secret,
    suggested,
    warnings,
)

CREATE = ("create", "-f", "-")
WAYS = (CREATE, ("apply", "-f", "-"), ("apply", "--server-side", "-f", "-"))


@pytest.mark.parametrize("how", WAYS, ids=" ".join)
def test_new_legacy_secret_is_denied_with_advice(cluster, how) -> None:
    done = cluster.kubectl(*how, stdin=secret("new-token", "shop"))
    assert done.returncode == 1
    assert 'legacy-token-secret: type requests a token of "app" that never expires' in done.stderr
    assert (
        "project a token into the pod, add an exemption with an end date, or run: kubectl create token app"
        in done.stderr
    )
    assert cluster.do(*suggested(done.stderr)).count(".") == 2, "the suggested command works"
    assert cluster.kubectl("get", "secret", "new-token", "-n", "shop").returncode == 1


def test_opaque_secret_is_allowed(cluster) -> None:
    cluster.do("create", "secret", "generic", "database", "-n", "shop", "--from-literal=password=x")
    cluster.do("create", "secret", "generic", "app-token-2", "-n", "shop", "--type=example.com/token")


def test_existing_legacy_secret_may_be_changed_and_deleted(cluster) -> None:
    cluster.do("label", "secret", "app-token", "-n", "oncall", "seen=yes")
    cluster.do("delete", "secret", "app-token", "-n", "oncall")


def test_mode_warn_allows_a_legacy_secret_with_a_warning(cluster) -> None:
    assert "Warning: legacy-token-secret: type requests a token" in warnings(cluster, secret("another", "warned"))
    kind = cluster.do("get", "secret", "another", "-n", "warned", "-o", "jsonpath={.type}")
    assert kind == LEGACY


def test_exempt_user_may_create_legacy_secrets(cluster) -> None:
    exempt = acting("system:serviceaccount:legacy-distribution:controller")
    cluster.do(*CREATE, *exempt, stdin=secret("of-a-controller", "shop"))
    other = cluster.kubectl(*CREATE, *acting("system:serviceaccount:shop:controller"), stdin=secret("mine", "shop"))
    assert "legacy-token-secret: " in other.stderr
    assert "legacy-token-secret: " in refusal(cluster, secret("mine", "shop"))


def test_legacy_secret_in_kube_system_is_allowed(cluster) -> None:
    cluster.do(*CREATE, "--dry-run=server", stdin=secret("machinery", "kube-system", account="default"))


@pytest.mark.covers("threat-model: tokenguard's account")
def test_own_account_of_tokenguard_may_create_no_legacy_secret(cluster) -> None:
    itself = acting("system:serviceaccount:tokenguard:tokenguard")
    cluster.do(*CREATE, "--dry-run=server", *itself, stdin=secret("plain", "tokenguard") | {"type": "Opaque"})
    refused = cluster.kubectl(*CREATE, *itself, stdin=secret("mine", "tokenguard", "tokenguard"))
    assert "legacy-token-secret: " in refused.stderr
    assert cluster.kubectl("get", "secret", "mine", "-n", "tokenguard").returncode == 1


@pytest.mark.parametrize("patch", NEW_TOKEN.values(), ids=NEW_TOKEN)
def test_legacy_secret_update_for_another_token_is_denied(cluster, patch) -> None:
    token = filled(cluster, "app-token", "strict")
    done = patch_secret(cluster, "app-token", "strict", patch)
    assert done.returncode == 1
    assert "legacy-token-secret: " in done.stderr
    assert filled(cluster, "app-token", "strict") == token


def test_legacy_secret_replaced_by_its_manifest_loses_its_token(cluster) -> None:
    filled(cluster, "app-token", "strict")
    done = cluster.kubectl("replace", "-f", "-", stdin=secret("app-token", "strict"))
    assert 'legacy-token-secret: data.token is removed, so Kubernetes issues a token of "app"' in done.stderr
    cluster.do("apply", "-f", "-", stdin=secret("app-token", "strict"))


def test_legacy_token_marked_invalid_stays_so(cluster) -> None:
    filled(cluster, "app-token", "lenient")
    cluster.do("label", "secret", "app-token", "-n", "lenient", f"{INVALID_SINCE}=2026-11-20")
    for label in (f"{INVALID_SINCE}-", f"{INVALID_SINCE}="):
        done = cluster.kubectl("label", "--overwrite", "secret", "app-token", "-n", "lenient", label)
        assert f"legacy-token-secret: metadata.labels[{INVALID_SINCE}] is removed" in done.stderr
    cluster.do(
        "label", "--overwrite", "secret", "app-token", "-n", "lenient", f"{INVALID_SINCE}=2026-11-21", "seen=yes"
    )


@pytest.mark.parametrize("how", WAYS, ids=" ".join)
def test_deleted_token_in_a_secret_of_another_type_is_denied(cluster, how) -> None:
    token = filled(cluster, "app-token", "strict")
    opaque = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "comes-back", "namespace": "strict"}}
    for text in (token, f"{token}\n", "\n".join(token)):
        for data in ({"stringData": {"token": text}}, {"data": {"token": b64encode(text.encode()).decode()}}):
            done = cluster.kubectl(*how, stdin=opaque | data)
            assert 'legacy-token-secret: data.token contains a token of "app" that never expires' in done.stderr
    assert cluster.kubectl("get", "secret", "comes-back", "-n", "strict").returncode == 1


def test_deleted_token_does_not_come_back_by_an_update(cluster) -> None:
    token = filled(cluster, "app-token", "strict")
    cluster.do("create", "secret", "generic", "turns-into-it", "-n", "strict", "--from-literal=token=hunter2")
    patch = {"stringData": {"token": token}}
    done = patch_secret(cluster, "turns-into-it", "strict", patch)
    assert 'legacy-token-secret: data.token contains a token of "app" that never expires' in done.stderr


def test_exempt_user_may_do_what_leads_to_another_token(cluster) -> None:
    exempt = acting("system:serviceaccount:legacy-distribution:controller")
    patch = json.dumps({"data": {"token": None}})
    cluster.do("patch", "secret", "app-token", "-n", "strict", "--type=merge", "-p", patch, "--dry-run=server", *exempt)
