"""ServiceAccounts: their authors are warned of problems, and nothing is denied."""

import pytest

from tests.end_to_end.cluster import acting, warnings

LISTS = 'Warning: legacy-token-reference: secrets[0] lists the long-lived token of "app" in Secret "app-token"'
ASKS = "Warning: api-token-automount: automountServiceAccountToken is true"


def service_account(name, namespace, **fields):
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, **fields}


def test_account_that_lists_a_legacy_token_is_warned_about(cluster) -> None:
    listing = service_account("listing", "shop", secrets=[{"name": "app-token"}], automountServiceAccountToken=True)
    message = warnings(cluster, listing)
    assert LISTS in message
    assert ASKS not in message, "the rule is off there"
    changed = cluster.kubectl("annotate", "serviceaccount", "listing", "-n", "shop", "reviewed=yes")
    assert (changed.returncode, LISTS in changed.stderr) == (0, True)


def test_account_that_automounts_is_warned_about_under_the_rule(cluster) -> None:
    for namespace in ("strict", "lenient"):
        asking = service_account("asking", namespace, automountServiceAccountToken=True)
        assert ASKS in warnings(cluster, asking)
        assert "asking" in cluster.do("get", "serviceaccounts", "-n", namespace)


def test_valid_account_causes_no_warning(cluster) -> None:
    sound = service_account("sound", "strict", secrets=[{"name": "database"}], automountServiceAccountToken=False)
    assert warnings(cluster, sound) == ""
    done = cluster.kubectl("create", "serviceaccount", "plain", "-n", "strict")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "user", ["system:kube-controller-manager", "system:serviceaccount:kube-system:service-account-controller"]
)
def test_account_of_a_controller_causes_no_warning(cluster, user) -> None:
    listing = service_account("made", "shop", secrets=[{"name": "app-token"}])
    done = cluster.kubectl("create", "--dry-run=server", "-f", "-", *acting(user), stdin=listing)
    assert (done.returncode, done.stderr) == (0, "")
