"""What a scan says that exemptions are good for; also where it looked at a part of the cluster alone."""

import pytest

from tests.scan import small_cluster
from tests.scan.small_cluster import Small, live, named_secret, of, secret, spec
from webhook.core.policy.model import Action
from webhook.scan.counts import ExemptCounts
from webhook.scan.exemption_usage import ExemptionStatus, ExemptionUsage
from webhook.scan.options import ScanFilters
from webhook.scan.report import UnreadResource

READS = spec(container=named_secret("old"))


EXEMPTIONS = """\
exemptions:
- {rules: [legacy-token-reference], namespaces: [shop], reason: held, until: 2026-12-01}
- {rules: ["*"], serviceAccounts: [nobody], reason: unused, until: never}
- {rules: [token-expiration], namespaces: [shop], reason: over, until: 2026-11-23}
- {rules: [token-request-expiration], namespaces: [shop], reason: unseen, until: 2027-12-01}
- {rules: [legacy-token-reference], users: [admin], reason: by user, until: 2026-11-24}
"""


def test_usage_status_follows_from_matches_and_dates() -> None:
    small = Small(secret("old")).pod("a", READS).pod("b", READS).deployment("web", READS)
    states = small.scan(EXEMPTIONS).exemptions
    assert [
        (state.reason, state.status, workloads(state), state.days_left, state.expires_soon) for state in states
    ] == [
        ("held", ExemptionStatus.IN_USE, 3, 7, True),
        ("unused", ExemptionStatus.UNUSED, 0, None, False),
        ("over", ExemptionStatus.EXPIRED, 3, -1, False),
        ("unseen", ExemptionStatus.UNKNOWN, 0, 372, False),
        ("by user", ExemptionStatus.UNKNOWN, 0, 0, True),
    ]
    assert states[1].rules == ("*",)


def workloads(state: ExemptionUsage) -> int:
    return state.covers.workloads


def test_usage_counts_each_kind_of_object() -> None:
    robot = small_cluster.account("robot", secrets=[{"name": "old"}])
    small = Small(secret("old"), accounts=(robot,)).pod("a", READS).deployment("web", READS)
    for name in ("web-1-x", "web-1-y"):
        small.pod(name, READS, **of("ReplicaSet", "web-1"))
    [state] = small.scan("exemptions: [{rules: ['*'], namespaces: [shop], reason: r, until: never}]\n").exemptions
    assert state.covers == ExemptCounts(workloads=2, pods=3, secrets=1, service_accounts=1, csi_drivers=0)


def test_usage_counts_a_workload_once() -> None:
    report = Small(secret("old")).deployment("web", READS).scan(
        """\
exemptions:
- {rules: [legacy-token-reference], namespaces: [shop], reason: one, until: never}
- {rules: [token-expiration], namespaces: [shop], reason: two, until: never}
"""
    )  # fmt: skip
    assert [workloads(state) for state in report.exemptions] == [1, 1]
    assert (report.summary.exempt.workloads, report.summary.exempt.pods) == (1, 0)


def usage_of(small, exemption, **options):
    [state] = small.scan(f"exemptions: [{{{exemption}, reason: held}}]\n", **options).exemptions
    return state.status, workloads(state), state.partly_scanned


HOLDING, OVER = "until: never", "until: 2026-01-01"
HOLDS, NOTHING = (ExemptionStatus.IN_USE, 1, False), (ExemptionStatus.UNUSED, 0, False)
UNSEEN = (ExemptionStatus.NOT_SCANNED, 0, True)
UNREAD = (ExemptionStatus.UNKNOWN, 0, True)
ONLY = ScanFilters(namespaces=("sh*",))


@pytest.mark.parametrize("filters", [
    ScanFilters(rules=("token-audience",)), ScanFilters(actions=(Action.AUDIT,)), ONLY,
], ids=["a rule", "an action", "a namespace"])  # fmt: skip
def test_usage_with_filters_counts_all_findings(filters) -> None:
    small = Small(secret("old")).pod("a", READS)
    for until, expected in ((HOLDING, HOLDS), (OVER, (ExemptionStatus.EXPIRED, 1, False))):
        what = f"rules: [legacy-token-reference], namespaces: [shop], {until}"
        assert usage_of(small, what, filters=filters) == usage_of(small, what) == expected


@pytest.mark.parametrize(("whom", "expected"), [
    ("namespaces: [shop]", NOTHING),
    ("namespaces: [nowhere]", UNSEEN),
    ("namespaces: [other]", UNSEEN),
    ("namespaces: ['*o*']", UNSEEN),
    ("namespaces: ['s*']", NOTHING),
    ("serviceAccounts: [robot]", UNSEEN),
    ("serviceAccounts: [other/robot]", UNSEEN),
    ("serviceAccounts: [shop/robot]", NOTHING),
    ("namespaces: [shop], serviceAccounts: ['*/robot']", NOTHING),
])  # fmt: skip
def test_usage_of_unscanned_namespaces_is_not_unused(whom, expected) -> None:
    small = Small(secret("old")).pod("a", live())
    small.snapshot.namespaces["other"] = frozenset()
    what = f"rules: [legacy-token-reference], {whom}"
    assert usage_of(small, f"{what}, {HOLDING}", filters=ONLY) == expected
    assert usage_of(small, f"{what}, {HOLDING}") == NOTHING
    assert usage_of(small, f"{what}, {OVER}", filters=ONLY) == (ExemptionStatus.EXPIRED, 0, expected is UNSEEN)


def test_usage_matches_in_scanned_namespaces_is_in_use() -> None:
    small = Small(secret("old")).pod("a", READS)
    small.snapshot.namespaces["other"] = frozenset()
    what = f"rules: [legacy-token-reference], namespaces: ['*'], {HOLDING}"
    assert usage_of(small, what, filters=ONLY) == (ExemptionStatus.IN_USE, 1, True)


def test_usage_with_unread_resources_is_unknown() -> None:
    small = Small().pod("a", READS)
    small.snapshot.namespaces["other"] = frozenset()
    small.snapshot.unread.append(UnreadResource("secrets", "why", "lacks", "advice", affects_decisions=True))
    assert usage_of(small, f"rules: [legacy-token-reference], namespaces: [shop], {HOLDING}") == UNREAD
    assert usage_of(small, f"rules: [legacy-token-reference], namespaces: [nowhere], {HOLDING}") == NOTHING
    in_scan, outside = (
        f"rules: [legacy-token-reference], namespaces: [{name}], {HOLDING}" for name in ("shop", "other")
    )
    assert [usage_of(small, what, filters=ONLY) for what in (in_scan, outside)] == [UNREAD, UNSEEN]
    small.snapshot.namespaces.clear()
    assert [usage_of(small, what, filters=ONLY) for what in (in_scan, outside)] == [UNREAD, UNSEEN]
    assert usage_of(small, f"rules: [legacy-token-reference], namespaces: [nowhere], {HOLDING}") == UNREAD


OVERLAPPING = """\
exemptions:
- {rules: [legacy-token-reference], namespaces: [shop], serviceAccounts: [first, app], reason: one, until: 2026-11-30}
- {rules: ["*"], namespaces: [shop], serviceAccounts: [second, app], reason: two, until: never}
- {rules: [legacy-token-reference], namespaces: ["s*"], reason: three, until: never}
- {rules: [legacy-token-reference], namespaces: [shop], reason: four, until: never}
- {rules: [legacy-token-reference], namespaces: [shop], serviceAccounts: [third, app], reason: five, until: never}
- {rules: [legacy-token-reference], namespaces: [shop], reason: six, until: 2026-01-01}
"""


def test_usage_matched_by_earlier_exemption_is_shadowed() -> None:
    small = Small(secret("old"))
    for account in ("first", "second"):
        small.pod(account, READS | {"serviceAccountName": account})
    states = small.scan(OVERLAPPING).exemptions
    assert [(state.status, state.shadowed_by) for state in states] == [
        (ExemptionStatus.IN_USE, ()),
        (ExemptionStatus.IN_USE, ()),
        (ExemptionStatus.SHADOWED, (0, 1)),
        (ExemptionStatus.SHADOWED, (0, 1)),
        (ExemptionStatus.UNUSED, ()),
        (ExemptionStatus.EXPIRED, ()),
    ]
    small.pod("third", READS | {"serviceAccountName": "third"})
    assert [
        (exemption.status, workloads(exemption), exemption.shadowed_by)
        for exemption in small.scan(OVERLAPPING).exemptions[2:5]
    ] == [
        (ExemptionStatus.IN_USE, 1, ()),
        (ExemptionStatus.SHADOWED, 0, (0, 1, 2)),
        (ExemptionStatus.SHADOWED, 0, (2,)),
    ]


READS_OTHER = spec(container={"env": [*named_secret("old")["env"], *named_secret("own")["env"]]})
"""Reads a token of account app and one of account default, as which it runs."""


def test_usage_pod_with_tokens_of_two_accounts_matches_each() -> None:
    small = Small(secret("old"), secret("own", account="default")).pod("a", READS_OTHER)
    report = small.scan(
        """\
exemptions:
- {rules: [legacy-token-reference], serviceAccounts: [default], reason: own, until: never}
- {rules: [legacy-token-reference], serviceAccounts: [app], reason: other alone, until: never}
- {rules: [legacy-token-reference], namespaces: [shop], serviceAccounts: [default], reason: again, until: never}
"""
    )
    assert [(state.status, state.shadowed_by) for state in report.exemptions] == [
        (ExemptionStatus.IN_USE, ()),
        (ExemptionStatus.UNUSED, ()),
        (ExemptionStatus.SHADOWED, (0,)),
    ]
    [group] = report.workloads[0].groups
    result = group.evaluation.result
    legacy = [finding for finding in result.findings if finding.rule == "legacy-token-reference"]
    assert [(finding.path, finding.other_account) for finding in legacy] == [("spec.containers[0].env[0]", "app")]
    [exempted] = result.exemptions
    assert (exempted.path, exempted.other_account) == ("spec.containers[0].env[1]", None)
    assert exempted.detail == 'reads the long-lived token in Secret "own"'


def test_usage_expired_exemption_for_one_account_ignores_others() -> None:
    small = Small(secret("old")).pod("a", READS)
    for accounts, count in (("[default]", 0), ("[default, app]", 1)):
        what = f"rules: [legacy-token-reference], serviceAccounts: {accounts}"
        assert usage_of(small, f"{what}, {OVER}") == (ExemptionStatus.EXPIRED, count, False)


def test_usage_exemption_for_a_part_is_shadowed() -> None:
    small = Small(secret("old"), secret("own", account="default")).pod("a", READS_OTHER)
    states = small.scan(
        """\
exemptions:
- {rules: [legacy-token-reference], reason: all, until: never}
- {rules: [legacy-token-reference], serviceAccounts: [default], reason: part, until: never}
"""
    ).exemptions
    assert [(state.status, state.shadowed_by) for state in states] == [
        (ExemptionStatus.IN_USE, ()),
        (ExemptionStatus.SHADOWED, (0,)),
    ]
