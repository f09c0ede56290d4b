"""Secrets of the legacy type: nobody makes one, but whoever is exempt."""

import pytest

from tests.end_to_end.cluster import LEGACY, acting, refusal, secret, suggested, warnings

CREATE = ("create", "-f", "-")


@pytest.mark.parametrize("how", [CREATE, ("apply", "-f", "-"), ("apply", "--server-side", "-f", "-")], ids=" ".join)
def test_a_new_legacy_secret_is_refused_and_told_what_to_use_in_its_place(cluster, how) -> None:
    done = cluster.kubectl(*how, stdin=secret("new-token", "shop"))
    assert done.returncode == 1
    assert 'legacy-token-secret: type asks for a token of "app" that never expires' in done.stderr
    assert "project a token into the pod, use an exemption that ends, or kubectl create token app" in done.stderr
    assert cluster.do(*suggested(done.stderr)).count(".") == 2, "the command that is told works"
    assert cluster.kubectl("get", "secret", "new-token", "-n", "shop").returncode == 1


def test_another_secret_is_not(cluster) -> None:
    cluster.do("create", "secret", "generic", "database", "-n", "shop", "--from-literal=password=x")
    cluster.do("create", "secret", "generic", "app-token-2", "-n", "shop", "--type=example.com/token")


def test_a_legacy_secret_that_was_there_before_may_be_changed_and_deleted(cluster) -> None:
    cluster.do("label", "secret", "app-token", "-n", "oncall", "seen=yes")
    cluster.do("delete", "secret", "app-token", "-n", "oncall")


def test_mode_warn_lets_one_be_made_and_says_what_enforce_would_do(cluster) -> None:
    assert "Warning: legacy-token-secret: type asks" in warnings(cluster, secret("another", "warned"))
    found = cluster.do("get", "secret", "another", "-n", "warned", "-o", "jsonpath={.type}")
    assert found == LEGACY


def test_a_controller_that_needs_them_is_exempt_by_its_user_and_no_other_is(cluster) -> None:
    exempt = acting("system:serviceaccount:legacy-distribution:controller")
    cluster.do(*CREATE, *exempt, stdin=secret("of-a-controller", "shop"))
    other = cluster.kubectl(*CREATE, *acting("system:serviceaccount:shop:controller"), stdin=secret("mine", "shop"))
    assert "legacy-token-secret: " in other.stderr
    assert "legacy-token-secret: " in refusal(cluster, secret("mine", "shop"))


def test_in_kube_system_one_may_be_made(cluster) -> None:
    cluster.do(*CREATE, "--dry-run=server", stdin=secret("machinery", "kube-system", account="default"))


def test_tokenguards_own_account_makes_none_for_itself_though_it_may_make_secrets(cluster) -> None:
    itself = acting("system:serviceaccount:tokenguard:tokenguard")
    cluster.do(*CREATE, "--dry-run=server", *itself, stdin=secret("plain", "tokenguard") | {"type": "Opaque"})
    refused = cluster.kubectl(*CREATE, *itself, stdin=secret("mine", "tokenguard", "tokenguard"))
    assert "legacy-token-secret: " in refused.stderr
    assert cluster.kubectl("get", "secret", "mine", "-n", "tokenguard").returncode == 1
