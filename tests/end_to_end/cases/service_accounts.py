"""ServiceAccounts: whoever writes one is warned of what is amiss, and nothing is refused."""

import pytest

from tests.end_to_end.cluster import acting, warnings

LISTS = 'Warning: legacy-token-reference: secrets[0] lists the long-lived token of "app" in Secret "app-token"'
ASKS = "Warning: api-token-automount: automountServiceAccountToken is true"


def service_account(name, namespace, **fields):
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, **fields}


def test_a_list_of_legacy_tokens_is_warned_of_when_it_is_made_and_when_it_is_changed(cluster) -> None:
    listing = service_account("listing", "shop", secrets=[{"name": "app-token"}], automountServiceAccountToken=True)
    told = warnings(cluster, listing)
    assert LISTS in told
    assert ASKS not in told, "the rule is off there"
    changed = cluster.kubectl("annotate", "serviceaccount", "listing", "-n", "shop", "reviewed=yes")
    assert (changed.returncode, LISTS in changed.stderr) == (0, True)


def test_one_that_asks_for_all_its_pods_is_warned_of_where_that_rule_is_on(cluster) -> None:
    for namespace in ("strict", "lenient"):
        asking = service_account("asking", namespace, automountServiceAccountToken=True)
        assert ASKS in warnings(cluster, asking)
        assert "asking" in cluster.do("get", "serviceaccounts", "-n", namespace)


def test_a_sound_one_is_made_without_a_word(cluster) -> None:
    sound = service_account("sound", "strict", secrets=[{"name": "database"}], automountServiceAccountToken=False)
    assert warnings(cluster, sound) == ""
    done = cluster.kubectl("create", "serviceaccount", "plain", "-n", "strict")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "user", ["system:kube-controller-manager", "system:serviceaccount:kube-system:service-account-controller"]
)
def test_a_controller_that_makes_one_is_told_nothing(cluster, user) -> None:
    listing = service_account("made", "shop", secrets=[{"name": "app-token"}])
    done = cluster.kubectl("create", "--dry-run=server", "-f", "-", *acting(user), stdin=listing)
    assert (done.returncode, done.stderr) == (0, "")
