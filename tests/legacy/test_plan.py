"""Plans: which Secrets a command takes, which it refuses and why, and what --force overrides."""

import datetime as dt

import pytest

from tests.legacy.retired import TODAY, Cluster, day, disabled, disabled_by_cleaner, secret
from tests.scan.small_cluster import NOW
from webhook.core.selectors import Accounts, Globs
from webhook.legacy.plan import Command, Exclusion, Plan, Selection, make_plan
from webhook.scan.report import UnreadResource


def named(*names: str, forced: tuple[str, ...] = ()) -> Selection:
    return Selection(names=frozenset(f"shop/{name}" for name in names), forced=frozenset(f"shop/{n}" for n in forced))


ALL = Selection(namespaces=Globs(("*",)))


def plan_for(command: Command, cluster: Cluster, selection: Selection = ALL, after_days: int = 14) -> Plan:
    return make_plan(command, cluster.report(after_days), selection)


def taken(plan: Plan) -> list[str]:
    return [secret.name for secret in plan.secrets]


@pytest.mark.parametrize(("given", "reason"), [
    (secret("s", used=3), f"it was used on {day(3)}, within --unused-days 30"),
    (secret("s", created=9), f"it was created on {day(9)}, within --unused-days 30"),
    (secret("s", labels={"kubernetes.io/legacy-token-last-used": "?"}), "it is not known whether it is used"),
], ids=["used", "new", "unknown"])  # fmt: skip
def test_disable_refuses_what_may_be_in_use_unless_forced(given, reason) -> None:
    cluster = Cluster(given, secret("other"))
    refused = plan_for(Command.DISABLE, cluster, named("s", "other"))
    assert taken(refused) == ["other"]
    [refusal] = refused.refused
    assert (refusal.secret, refusal.can_force, refused.exit_status) == ("shop/s", True, 1)
    assert reason in refusal.reasons[0]
    forced = plan_for(Command.DISABLE, cluster, named(forced=("s",)))
    assert (taken(forced), forced.refused, forced.exit_status) == (["s"], (), 0)
    assert forced.forced == (refusal,)


def test_disable_refuses_what_was_recorded_too_briefly() -> None:
    cluster = Cluster(secret("s"))
    cluster.small.snapshot.tracked_since = TODAY - dt.timedelta(days=9)
    [refusal] = plan_for(Command.DISABLE, cluster, named("s")).refused
    assert refusal.reasons == (f"uses are recorded only since {day(9)}, for less than --unused-days 30",)


def test_disable_refuses_what_a_running_pod_names() -> None:
    cluster = Cluster(secret("a"), secret("b"), pod="a", template="b")
    plan = plan_for(Command.DISABLE, cluster)
    assert taken(plan) == []
    assert {skipped.reasons for skipped in plan.skipped} == {
        ("Pod/web refers to it, in running pods",), ("Deployment/idle refers to it, in a template",),
    }  # fmt: skip
    assert taken(plan_for(Command.DISABLE, cluster, named(forced=("b",)))) == ["b"]
    assert (plan.refused, plan.exit_status) == ((), 0)


def test_disable_refuses_everything_if_references_are_unread() -> None:
    cluster = Cluster(secret("s"))
    cluster.small.snapshot.unread.append(
        UnreadResource("deployments", "no", "their templates", "", affects_decisions=True, may_name_secrets=True)
    )
    [refusal] = plan_for(Command.DISABLE, cluster, named("s")).refused
    assert refusal.reasons == ("deployments could not be read, which may refer to it",)


def test_disable_leaves_disabled_ones_alone() -> None:
    plan = plan_for(Command.DISABLE, Cluster(disabled("a", days=1), disabled_by_cleaner("b", days=1)), named("a", "b"))
    assert (taken(plan), plan.done, plan.exit_status) == ([], ("shop/a", "shop/b"), 0)


def test_wave_takes_the_worst_first_and_names_the_rest() -> None:
    cluster = Cluster(*(secret(f"s{number}") for number in range(5)))
    selection = Selection(names=frozenset({"shop/s4"}), namespaces=Globs(("shop",)), max_count=2)
    plan = plan_for(Command.DISABLE, cluster, selection)
    assert taken(plan) == ["s0", "s1", "s4"]
    assert plan.later == ("shop/s2", "shop/s3")


@pytest.mark.parametrize(("minutes", "reason", "names", "expected"), [
    pytest.param(0, "wave 1", (), ["s2"], id="the rest of the wave"),
    pytest.param(59, "wave 1", (), ["s2"], id="within an hour"),
    pytest.param(61, "wave 1", (), ["s2", "s3"], id="long ago"),
    pytest.param(0, "wave 2", (), ["s2", "s3"], id="another wave"),
    pytest.param(0, "wave 1", ("shop/s1",), ["s2", "s3"], id="named Secrets do not count"),
])  # fmt: skip
def test_wave_counts_what_was_just_disabled_for_its_reason(minutes, reason, names, expected) -> None:
    at = NOW - dt.timedelta(minutes=minutes)
    begun = disabled("s1", days=0, annotations={"tokenguard/disabled-at": at.isoformat()})
    cluster = Cluster(begun, *(secret(f"s{number}") for number in range(2, 5)))
    selection = Selection(names=frozenset(names), namespaces=Globs(("shop",)), max_count=2, reason=reason)
    plan = plan_for(Command.DISABLE, cluster, selection)
    assert taken(plan) == expected
    assert plan.begun == 2 - len(expected)


@pytest.mark.parametrize(("selection", "names"), [
    pytest.param(Selection(namespaces=Globs(("sh*",))), ["a", "b"], id="namespace"),
    pytest.param(Selection(namespaces=Globs(("other",))), [], id="other namespace"),
    pytest.param(Selection(accounts=Accounts(("robot",))), ["b"], id="account"),
    pytest.param(Selection(accounts=Accounts(("shop/app",)), unused_only=True), ["a"], id="all criteria"),
    pytest.param(Selection(unused_only=True), ["a", "b"], id="unused"),
    pytest.param(Selection(), [], id="nothing"),
])  # fmt: skip
def test_selection_takes_what_matches_all_criteria(selection, names) -> None:
    robot = {"kubernetes.io/service-account.name": "robot"}
    cluster = Cluster(secret("a"), secret("b", annotations=robot), secret("c"), secret("d", used=1), template="c")
    assert taken(plan_for(Command.DISABLE, cluster, selection)) == names


def test_selection_counts_what_it_leaves_out_by_the_first_reason() -> None:
    system = secret("system", namespace="kube-system")
    cluster = Cluster(secret("a", used=1), secret("b", used=1), secret("c"), system, template="c")
    plan = plan_for(Command.DISABLE, cluster, Selection(unused_only=True))
    assert [(left.reason, left.count) for left in plan.excluded] == [
        (Exclusion.USED, 2), (Exclusion.KUBE_SYSTEM, 1),
    ]  # fmt: skip
    assert [skipped.secret for skipped in plan.skipped] == ["shop/c"]
    assert (plan.secrets, plan.legacy_secrets) == ((), 4)
    assert plan_for(Command.DISABLE, cluster, named("c")).excluded == ()


@pytest.mark.parametrize(("namespaces", "names"), [
    pytest.param((), [], id="none"),
    pytest.param(("*",), [], id="all"),
    pytest.param(("kube-*", "*system"), [], id="globs that begin otherwise"),
    pytest.param(("*", "kube-system-*"), [], id="a glob of another namespace"),
    pytest.param(("*", "kube-system"), ["s"], id="name"),
    pytest.param(("kube-system*",), ["s"], id="glob that begins with it"),
])  # fmt: skip
def test_selection_of_kube_system_needs_a_namespace_like_it(namespaces, names) -> None:
    cluster = Cluster(secret("s", namespace="kube-system"))
    selection = Selection(namespaces=Globs(namespaces), accounts=Accounts(("kube-system/app",)))
    plan = plan_for(Command.DISABLE, cluster, selection)
    assert taken(plan) == names
    assert [left.reason for left in plan.excluded] == ([] if names else [Exclusion.KUBE_SYSTEM])
    assert taken(plan_for(Command.DISABLE, cluster, Selection(names=frozenset({"kube-system/s"})))) == ["s"]


def test_restore_takes_what_tokenguard_disabled() -> None:
    left = {"tokenguard/disabled-at": f"{day(1)}T08:00:00Z"}
    cluster = Cluster(
        disabled("a", days=3), disabled_by_cleaner("b", days=3), secret("c"), secret("d", annotations=left),
        disabled("e", days=3, used=1),
    )  # fmt: skip
    plan = plan_for(Command.RESTORE, cluster)
    assert taken(plan) == ["e", "d", "a"]
    assert plan.skipped[0].reasons == (
        f"field manager kube-controller-manager has disabled it on {day(3)}, not tokenguard",
    )
    assert taken(plan_for(Command.RESTORE, cluster, Selection(still_used=True))) == ["e", "d"]  # d is half restored
    assert taken(plan_for(Command.RESTORE, cluster, named(forced=("b",)))) == ["b"]
    assert plan_for(Command.RESTORE, cluster, named("c")).done == ("shop/c",)


def test_delete_takes_only_what_is_disabled_long_enough() -> None:
    cluster = Cluster(
        secret("valid"), disabled("lately", days=13), disabled("long", days=14), disabled("missed", days=30, used=2),
        disabled("missed-once", days=60, used=20), disabled_by_cleaner("cleaned", days=300),
    )  # fmt: skip
    assert taken(plan_for(Command.DELETE, cluster)) == ["cleaned", "long", "missed-once"]
    refused = plan_for(
        Command.DELETE, cluster, named("valid", "lately", "missed", forced=("valid", "lately", "missed"))
    )
    assert taken(refused) == []
    assert {refusal.secret: refusal.reasons[0] for refusal in refused.refused} == {
        "shop/valid": "it is not disabled; disable it first, which can be undone",
        "shop/lately": f"it was disabled on {day(13)}, less than --after-days 14 ago",
        "shop/missed": f"a use was refused on {day(2)}: restore it, or wait 14 days from then",
    }
    assert not any(refusal.can_force for refusal in refused.refused)


def test_delete_refuses_what_a_template_names_unless_forced() -> None:
    cluster = Cluster(disabled("s", days=20), template="s")
    [refusal] = plan_for(Command.DELETE, cluster, named("s")).refused
    assert refusal.reasons == ("Deployment/idle refers to it, in a template",)
    assert taken(plan_for(Command.DELETE, cluster, named(forced=("s",)))) == ["s"]


def test_secret_that_is_being_deleted_is_left_alone() -> None:
    deleted = secret("s", deletionTimestamp="2026-11-24T00:00:00Z")
    [refusal] = plan_for(Command.DISABLE, Cluster(deleted), named(forced=("s",))).refused
    assert refusal.reasons == ("it is being deleted already",)
    deletion = plan_for(Command.DELETE, Cluster(deleted), named("s"))
    assert (deletion.done, deletion.exit_status) == (("shop/s",), 0)


def test_name_of_no_secret_is_refused_unless_it_was_deleted() -> None:
    report = Cluster().report()
    plan = make_plan(Command.DELETE, report, named("a", "b"), deleted=frozenset({"shop/a"}))
    assert plan.done == ("shop/a",)
    assert [(refusal.secret, refusal.reasons) for refusal in plan.refused] == [("shop/b", ("no such legacy Secret",))]
