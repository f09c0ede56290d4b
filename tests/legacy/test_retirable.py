"""How far the Secrets of a cluster are: from their labels, tokenguard's record, references and an audit log."""

import datetime as dt

import pytest

from tests.legacy.retired import INVALID, TODAY, Cluster, day, disabled, disabled_by_cleaner, secret
from tests.scan.small_cluster import NOW, binding, role
from webhook.legacy.retirable import RefusedUse
from webhook.legacy.retirable import RetirementState as State
from webhook.scan.report import UnreadResource


def states(cluster: Cluster, **options) -> dict[str, State]:
    return {secret.name: secret.state for secret in cluster.report(**options).secrets}


@pytest.mark.parametrize(("given", "state"), [
    pytest.param(secret("s", used=0), State.IN_USE, id="used today"),
    pytest.param(secret("s", used=29), State.IN_USE, id="used within the days"),
    pytest.param(secret("s", used=30), State.UNUSED, id="used before the days"),
    pytest.param(secret("s"), State.UNUSED, id="never used"),
    pytest.param(secret("s", created=29), State.TOO_EARLY, id="new and not used"),
    pytest.param(secret("s", created=30), State.UNUSED, id="not new any more and not used"),
    pytest.param(secret("s", labels={"kubernetes.io/legacy-token-last-used": "soon"}), State.UNKNOWN, id="no day"),
    pytest.param(disabled("s", days=0), State.DISABLED, id="disabled today"),
    pytest.param(disabled("s", days=13), State.DISABLED, id="disabled for less than the days"),
    pytest.param(disabled("s", days=14), State.REMOVABLE, id="disabled for the days"),
    pytest.param(disabled("s", days=3, used=2), State.STILL_USED, id="used after it was disabled"),
    pytest.param(disabled("s", days=3, used=3), State.STILL_USED, id="used that day, and not before"),
    pytest.param(disabled("s", days=3, used=3, before=9), State.STILL_USED, id="used that day, and long before"),
    pytest.param(disabled("s", days=3, used=3, before=3), State.DISABLED, id="used that day, before it"),
    pytest.param(disabled("s", days=40, used=14), State.REMOVABLE, id="a use refused long ago"),
    pytest.param(disabled("s", days=40, used=13), State.STILL_USED, id="a use refused lately"),
    pytest.param(disabled_by_cleaner("s", days=14), State.REMOVABLE, id="disabled by the cleaner"),
    pytest.param(secret("s", labels={INVALID: "soon"}), State.DISABLED, id="disabled on no day"),
    pytest.param(secret("s", labels={INVALID: ""}), State.UNUSED, id="an empty label is none"),
])  # fmt: skip
def test_state_follows_from_labels_and_record(given, state) -> None:
    assert states(Cluster(given)) == {"s": state}


def test_state_without_tracking_is_known_only_after_a_use() -> None:
    cluster = Cluster(secret("s"), secret("used", used=3), secret("old", used=40))
    cluster.small.snapshot.tracked_since = None
    assert states(cluster) == {"s": State.UNKNOWN, "used": State.IN_USE, "old": State.UNUSED}


def test_reference_in_a_running_pod_is_a_use() -> None:
    cluster = Cluster(secret("a"), secret("b"), pod="a", template="b")
    assert states(cluster) == {"a": State.IN_USE, "b": State.REFERENCED}


def test_referenced_secret_is_not_removable() -> None:
    assert states(Cluster(disabled("s", days=20), template="s")) == {"s": State.DISABLED}


def test_refused_use_on_the_last_day_counts_without_waiting() -> None:
    both = disabled("a", days=1, used=0), disabled("b", days=0)
    assert states(Cluster(*both), after_days=0) == {"a": State.STILL_USED, "b": State.REMOVABLE}


def test_refused_use_in_an_audit_log_counts() -> None:
    use = RefusedUse("10.0.0.1", "backup/1.0", 3, NOW - dt.timedelta(days=2))
    cluster = Cluster(disabled("s", days=20), disabled("t", days=1))
    [first, second] = cluster.report(refused={"shop/s": (use,), "shop/t": (use,)}).secrets
    assert (first.name, first.state, first.refused_uses) == ("s", State.STILL_USED, (use,))
    assert (second.name, second.state) == (
        "t",
        State.DISABLED,
    )  # it was before the token was disabled, this time


def test_record_names_who_disabled_it() -> None:
    [retirable] = Cluster(disabled("s", days=2)).report().secrets
    assert retirable.disabled
    assert (retirable.disabled.by, retirable.disabled.reason, retirable.disabled.recorded) == ("alice", "wave 1", True)
    assert retirable.disabled.since == TODAY - dt.timedelta(days=2)
    [cleaned] = Cluster(disabled_by_cleaner("s", days=2)).report().secrets
    assert cleaned.disabled
    assert (cleaned.disabled.by, cleaned.disabled.recorded) == ("kube-controller-manager", False)


def test_record_without_label_is_half_restored() -> None:
    [retirable] = Cluster(secret("s", annotations={"tokenguard/disabled-at": f"{day(1)}T08:00:00Z"})).report().secrets
    assert (retirable.half_restored, retirable.disabled, retirable.state) == (True, None, State.UNUSED)


def test_worst_secrets_come_first() -> None:
    other = {"kubernetes.io/service-account.name": "b"}
    cluster = Cluster(
        disabled("removable", days=20), disabled("disabled", days=2), secret("unused"), secret("used", used=1),
        disabled("missed", days=2, used=1), secret("a-harmless", annotations=other),
    )  # fmt: skip
    permissions = cluster.small.snapshot.permissions
    permissions.add_role(role("viewer"))
    permissions.add_binding(binding({"kind": "ServiceAccount", "name": "app", "namespace": "shop"}, name="b"))
    assert [retirable.name for retirable in cluster.report().secrets] == [
        "missed", "used", "unused", "a-harmless", "disabled", "removable",
    ]  # fmt: skip


@pytest.mark.parametrize(("secrets", "status"), [
    pytest.param([], 0, id="none"),
    pytest.param([disabled("s", days=2), disabled("t", days=20)], 0, id="disabled"),
    pytest.param([disabled("s", days=2), secret("t")], 1, id="valid"),
    pytest.param([disabled("s", days=2, used=1)], 1, id="missed"),
])  # fmt: skip
def test_exit_status_tells_of_valid_and_missed_tokens(secrets, status) -> None:
    assert Cluster(*secrets).report().exit_status == status


def test_exit_status_is_2_if_secrets_were_not_read() -> None:
    cluster = Cluster(secret("t"))
    cluster.small.snapshot.unread.append(UnreadResource("Secrets", "403", "tokens", "", affects_decisions=True))
    assert cluster.report().exit_status == 2
