"""The report about a small cluster: owners, legacy Secrets, tokens, accounts, exemptions, changes."""

import datetime as dt

import pytest

from tests.scan.small_cluster import (
    AT,
    INJECT,
    VAULT,
    Small,
    account,
    api_token,
    binding,
    csi_driver,
    live,
    mounts,
    named_secret,
    of,
    role,
    secret,
    spec,
    token,
)
from webhook.core.cluster_state import FALLBACK_API_AUDIENCES
from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.core.webhook_namespaces import WebhookScope, WebhookScopes
from webhook.formatters.scan_summary import reference_lines
from webhook.scan.counts import OutcomeCounts
from webhook.scan.evaluation_result import Change
from webhook.scan.exemption_usage import ExemptionStatus
from webhook.scan.options import ApiAudiences, AudienceSource, ScanFilters
from webhook.scan.pod_admission import AdmissionHistory
from webhook.scan.report import AccountWithTokens, TokenUse, UnreadResource

READS = spec(container=named_secret("old"))
YEAR = 31_536_000
OWNED = of("ReplicaSet", "web-1")
INTERNAL = "https://api.internal"
NAMED = f"apiServerToken: {{audiences: ['{INTERNAL}']}}\n"


def without_permissions(report) -> list[AccountWithTokens]:
    """Return the accounts whose token Kubernetes mounts though no binding grants them anything."""
    return [account for account in report.accounts_with_tokens if account.grants == () and account.pods]


def owners(report):
    return {f"{owner.kind}/{owner.name}": [group.names for group in owner.pods] for owner in report.workloads}


def test_scan_groups_pods_by_workload() -> None:
    small = Small().deployment("web", live()).cron_job("report", live())
    small.pod("web-1-b", live(), **OWNED).pod("web-1-a", live(), **OWNED)
    small.pod("report-1-a", live(), **of("Job", "report-1", "batch"))
    small.pod("rollout-a", live(), **of("ReplicaSet", "rollout-1")).pod(
        "flow-a", live(), **of("Flow", "f", "x.example")
    )
    small.pod("bare", live())
    assert owners(small.scan()) == {
        "Deployment/web": [("web-1-a", "web-1-b")],
        "CronJob/report": [("report-1-a",)],
        "ReplicaSet/rollout-1": [("rollout-a",)],
        "Flow/f": [("flow-a",)],
        "Pod/bare": [("bare",)],
    }


def test_scan_workloads_of_two_groups_are_distinct() -> None:
    reading = live() | {"initContainers": [{"name": "first", **named_secret("old")}]}
    small = Small(secret("old")).pod("a-1", reading, **of("Job", "train", "batch"))
    small.pod("a-2", reading, **of("Job", "train", "batch.volcano.sh"))
    report = small.scan()
    assert [(workload.group, workload.title) for workload in report.workloads] == [
        ("batch", "Job/train"),
        ("batch.volcano.sh", "Job.batch.volcano.sh/train"),
    ]
    [legacy] = report.legacy_secrets
    assert [reference.title for reference in legacy.references] == ["Job/train", "Job.batch.volcano.sh/train"]
    [idle] = without_permissions(report)
    assert idle.workloads == ("Job.batch.volcano.sh/train", "Job/train")


EXCLUDED = WebhookScope(excluded=frozenset({"shop"}))


def test_scan_excluded_namespace_is_not_evaluated() -> None:
    small = Small(secret("old")).deployment("web", READS).pod("web-1-a", READS, **OWNED)
    small.snapshot.history = AdmissionHistory(scopes=WebhookScopes(EXCLUDED), is_known=True)
    report = small.scan()
    [owner] = report.workloads
    note = "namespace shop is excluded by the webhook configuration"
    assert {(group.evaluation.result.outcome, group.evaluation.result.note) for group in owner.groups} == {
        (Outcome.ALLOWED, note),
    }  # fmt: skip
    assert report.excluded_namespaces == ("shop",)
    assert report.legacy_secrets[0].result.outcome is Outcome.DENIED, "only the webhook for pods excludes it"
    assert report.legacy_secrets[0].references[0].title == "Deployment/web"


def test_scan_secret_its_webhook_excludes_is_not_evaluated() -> None:
    small = Small(secret("old", last_used="2026-11-20"))
    small.snapshot.history = AdmissionHistory(scopes=WebhookScopes(secrets=EXCLUDED), is_known=True)
    report = small.scan()
    assert report.legacy_secrets[0].result.note == "namespace shop is excluded by the webhook configuration"
    assert (report.excluded_namespaces, report.exit_status) == ((), 0)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_scan_finished_pod_is_only_counted(phase) -> None:
    small = Small(secret("unused")).pod("done", READS, phase, **of("Job", "lone", "batch"))
    small.snapshot.secrets.append(secret("old"))
    report = small.scan('rules: {legacy-token-secret: "off"}\n')
    assert report.summary.finished_pods == 1
    assert (report.workloads, report.summary.pods, report.tokens) == ((), OutcomeCounts(), ())
    assert (without_permissions(report), report.exit_status) == ([], 0)
    assert [secret.removable for secret in report.legacy_secrets] == [True, True]


def test_scan_different_pods_of_a_workload_are_distinct() -> None:
    small = Small(secret("old")).deployment("web", live())
    small.pod("web-1-a", live(), **OWNED).pod("web-1-b", live(), **OWNED)
    small.pod("web-1-c", live() | {"initContainers": [{"name": "added", **named_secret("old")}]}, **OWNED)
    [owner] = small.scan().workloads
    assert [group.names for group in owner.pods] == [("web-1-a", "web-1-b"), ("web-1-c",)]
    assert [group.evaluation.result.outcome for group in owner.pods] == [Outcome.PATCHED, Outcome.DENIED]
    assert owner.outcome is Outcome.DENIED
    assert owner.pod_count == 3


def test_scan_workload_without_pods_uses_its_template() -> None:
    report = Small(secret("old")).deployment("web", READS, replicas=0).cron_job("report", spec()).scan()
    outcomes = {owner.name: owner.outcome for owner in report.workloads}
    assert outcomes == {"web": Outcome.DENIED, "report": Outcome.PATCHED}
    assert report.summary.pods == OutcomeCounts()
    assert report.summary.workloads == OutcomeCounts(patched=1, denied=1)
    assert {(count.rule, count.action): count.count for count in report.rule_counts} == {
        ("legacy-token-reference", Action.REJECT): 1,
        ("legacy-token-secret", Action.REJECT): 1,
        ("token-expiration", Action.PATCH): 2,
    }


def test_scan_kube_system_is_left_alone() -> None:
    report = Small().pod("dns", live(), namespace="kube-system").scan()
    [group] = report.workloads[0].pods
    assert (group.evaluation.result.outcome, group.evaluation.result.note) == (
        Outcome.ALLOWED, "namespace kube-system is excluded",
    )  # fmt: skip


def test_legacy_secret_has_all_references() -> None:
    small = Small(secret("old"), accounts=(account("app", secrets=[{"name": "old"}]),))
    small.deployment("web", READS).pod("web-1-a", READS, **OWNED).cron_job("report", READS)
    [legacy] = small.scan().legacy_secrets
    assert (legacy.account, legacy.listed_by, legacy.removable) == ("app", ("app",), False)
    path = "spec.containers[0].env[0]"
    assert [(reference.kind, reference.name, reference.path, reference.pods) for reference in legacy.references] == [
        ("CronJob", "report", path, ()),
        ("Deployment", "web", path, ("web-1-a",)),
    ]
    assert legacy.result.outcome is Outcome.DENIED


def test_image_pull_secrets_are_named_and_no_references() -> None:
    pulls = {"imagePullSecrets": [{"name": "registry"}, {"name": "old"}]}
    small = Small(secret("old", invalid_since="2026-11-01"), accounts=(account("app", **pulls),))
    small.deployment("web", spec(**pulls)).pod("web-1-a", spec(**pulls), **OWNED)
    [legacy] = small.scan().legacy_secrets
    assert (legacy.references, legacy.removable) == ((), True)
    assert [(entry.title, entry.path, entry.pods) for entry in legacy.image_pulls] == [
        ("Deployment/web", "spec.imagePullSecrets[1]", ("web-1-a",)),
        ("ServiceAccount/app", "imagePullSecrets[1]", ()),
    ]
    [line] = reference_lines(legacy)
    assert line.startswith("named by imagePullSecrets of Deployment/web, ServiceAccount/app, without effect: ")


@pytest.mark.parametrize("pulls", ["old", ["old"], {"name": "old"}, [{"name": 1}, {}, None]], ids=str)
def test_image_pull_secrets_of_another_form_are_ignored(pulls) -> None:
    small = Small(secret("old")).deployment("web", spec(imagePullSecrets=pulls))
    [legacy] = small.scan().legacy_secrets
    assert legacy.image_pulls == ()


LONG = "2026-10-25"  # thirty days before now


@pytest.mark.parametrize(("labels", "tracked", "days", "goes"), [
    ({}, "2026-01-01", 30, True),
    ({}, LONG, 30, True),
    ({}, "2026-10-26", 30, False),
    ({}, "2026-10-26", 29, True),
    ({}, None, 0, False),
    ({"last_used": LONG}, "2026-01-01", 30, True),
    ({"last_used": "2026-10-26"}, "2026-01-01", 30, False),
    ({"last_used": "2024-01-01"}, LONG, 30, True),
    ({"last_used": "2024-01-01"}, "2026-10-26", 30, False),
    ({"last_used": "2024-01-01"}, None, 30, False),
    ({"last_used": "2026-11-03", "invalid_since": "2026-11-04"}, "2026-01-01", 30, True),
    ({"last_used": "2026-11-05", "invalid_since": "2026-11-04"}, "2026-01-01", 30, False),
    ({"last_used": "2026-10-20", "invalid_since": "2026-10-10"}, "2026-01-01", 30, True),
    ({"last_used": "when?"}, "2026-01-01", 30, False),
], ids=[
    "unused since it was made", "for just so long", "not for so long", "for less", "not known",
    "last used just so long ago",
    "last used since", "last used before it was noted", "last used before, and noted not for so long",
    "last used, and no more is known", "marked invalid", "refused lately", "refused long ago",
    "a label that is no day",
])  # fmt: skip
def test_legacy_secret_unused_for_long_enough_is_removable(labels, tracked, days, goes) -> None:
    small = Small(secret("old", created="2026-01-02T00:00:00Z", **labels))
    small.snapshot.tracked_since = dt.date.fromisoformat(tracked) if tracked else None
    [legacy] = small.scan(unused_days=days).legacy_secrets
    assert legacy.removable is goes


@pytest.mark.parametrize(("labels", "goes"), [({}, False), ({"invalid_since": "2026-11-01"}, True)])
def test_legacy_secret_unread_templates_only_invalid_removable(labels, goes) -> None:
    small = Small(secret("old", **labels))
    small.snapshot.unread.append(UnreadResource("cronjobs", "", "", "", affects_decisions=True, may_name_secrets=True))
    [legacy] = small.scan().legacy_secrets
    assert (legacy.unused_since, legacy.removable) == (dt.date(2026, 2, 1), goes)


def test_legacy_secret_unused_since_creation_or_tracking() -> None:
    young, old = Small(secret("a", created="2026-11-20T00:00:00Z"), secret("b")).scan().legacy_secrets
    assert (young.unused_since, young.removable) == (dt.date(2026, 11, 20), False)
    assert (old.unused_since, old.removable) == (dt.date(2026, 2, 1), True)


def test_token_uses_by_audience_and_lifetime() -> None:
    both = spec([token(audience=VAULT, expirationSeconds=86400)], container=named_secret("old"))
    small = Small(secret("old")).pod("a", live()).pod("b", live(3600))
    small.pod("c", spec([token(audience=VAULT, expirationSeconds=86400)], automountServiceAccountToken=False))
    small.pod("d", both | {"automountServiceAccountToken": False})
    assert small.scan(simulated="mode: audit\n").tokens == (
        TokenUse("", 3600, 1, 2, 0),
        TokenUse("", YEAR, 1, 0, 2),
        TokenUse("", None, 1, 0, 1),
        TokenUse(VAULT, 3600, 0, 1, 0),
        TokenUse(VAULT, 86400, 2, 0, 2),
    )


def test_token_uses_after_patches_are_counted() -> None:
    held = spec([{"name": "held", "secret": {"secretName": "old"}}], serviceAccountName="app")
    rules = "rules: {legacy-token-reference: patch, api-token-automount: patch}\n"
    report = Small(secret("old")).pod("a", held).scan(INJECT + rules)
    [group] = report.workloads[0].pods
    assert [(token.audience, token.lifetime_seconds, token.path) for token in group.evaluation.tokens] == [
        ("", 3600, "spec.volumes[0].projected.sources[0]"),
        (VAULT, 3600, "spec.volumes[2].projected.sources[0]"),
    ]


@pytest.mark.parametrize(("given", "idle"), [
    ([], True),
    ([binding({"kind": "ServiceAccount", "name": "app", "namespace": "shop"}, name="b")], False),
    ([binding({"kind": "ServiceAccount", "name": "app"}, name="b", namespace="shop")], False),
    ([binding({"kind": "ServiceAccount", "name": "app", "namespace": "other"}, name="b", namespace="shop")], True),
    ([binding({"kind": "User", "name": "system:serviceaccount:shop:app"}, name="b")], False),
    ([binding({"kind": "User", "name": "app"}, name="b")], True),
    ([binding({"kind": "Group", "name": "system:serviceaccounts:shop"}, name="b")], False),
    ([binding({"kind": "Group", "name": "system:serviceaccounts:other"}, name="b")], True),
    ([binding({"kind": "Group", "name": "system:serviceaccounts"}, name="b")], False),
    ([binding({"kind": "Group", "name": "system:authenticated"}, name="b")], False),
    ([binding({"kind": "Group", "name": "system:authenticated"}, name="system:discovery",
              labels={"kubernetes.io/bootstrapping": "rbac-defaults"})], True),
    ([binding(name="b")], True),
], ids=[
    "none", "by name", "by name in a RoleBinding", "another namespace's", "as a user", "another user",
    "by its namespace's group", "by another's", "by all accounts' group", "by everybody's",
    "by Kubernetes' own", "nobody",
])  # fmt: skip
def test_account_without_binding_has_no_permissions(given, idle) -> None:
    small = Small().pod("a", live(serviceAccountName="app")).pod("b", live(serviceAccountName="app"))
    small.pod("c", spec(serviceAccountName="quiet", automountServiceAccountToken=False))
    small.snapshot.permissions.add_role(role("viewer"))
    for each in given:
        small.snapshot.permissions.add_binding(each)
    rows = [
        (account.namespace, account.name, account.pods, account.workloads)
        for account in without_permissions(small.scan())
    ]
    assert rows == ([("shop", "app", 2, ("Pod/a", "Pod/b"))] if idle else [])


@pytest.mark.parametrize(("pod", "expected"), [
    (live(), (1, 1, 0)),
    (spec([token(audience=INTERNAL)], mounts(("token", "/k")), automountServiceAccountToken=False), (1, 0, 1)),
    (spec([token()], mounts(("token", "/k")), automountServiceAccountToken=False), (1, 0, 1)),
    (spec([token()], automountServiceAccountToken=False), (1, 0, 1)),
    (spec([token()], mounts(("token", AT)), automountServiceAccountToken=False), (1, 0, 1)),
    (live(automountServiceAccountToken=False), (1, 0, 1)),
    (spec([api_token(), token()], mounts(("kube-api-access-abcde", AT), ("token", "/k"))), (1, 1, 1)),
    (spec([token(audience=VAULT)], mounts(("token", "/k")), automountServiceAccountToken=False), None),
    (spec(automountServiceAccountToken=False), None),
], ids=[
    "automounted", "with its audience", "without audience", "not mounted", "by hand at the default path",
    "by hand in a volume of Kubernetes' name", "both", "another service's", "none",
])  # fmt: skip
def test_accounts_with_tokens_in_pods_by_how_they_get_them(pod, expected) -> None:
    accounts = Small().pod("a", {**pod, "serviceAccountName": "app"}).scan(NAMED).accounts_with_tokens
    counts = [
        (account.name, account.pods, account.automounted_pods, account.authored_pods, account.workloads)
        for account in accounts
    ]
    assert counts == ([("app", *expected, ("Pod/a",))] if expected else [])


def test_accounts_with_unreadable_bindings_have_unknown_rights() -> None:
    small = Small(secret("old")).pod("a", live(serviceAccountName="app"))
    small.snapshot.permissions = None
    report = small.scan()
    [account] = report.accounts_with_tokens
    assert (account.name, account.grants, account.legacy_secrets) == ("app", None, ("old",))
    assert without_permissions(report) == []


HOST = spec([{"name": "h", "hostPath": {"path": "/"}}], automountServiceAccountToken=False)
STRICT = "rules: {kubelet-hostpath: reject}\n"


@pytest.mark.parametrize(("text", "given", "token_s", "names", "source"), [
    (NAMED, ("given",), ("token",), (INTERNAL,), AudienceSource.POLICY),
    ("", (INTERNAL,), ("token",), (INTERNAL,), AudienceSource.GIVEN),
    ("", (), (INTERNAL,), (INTERNAL,), AudienceSource.TOKEN),
    ("", (), (), ("https://issuer", *FALLBACK_API_AUDIENCES), AudienceSource.ASSUMED),
], ids=["the policy's", "those given", "the token's", "assumed"])  # fmt: skip
def test_api_audiences_have_a_source_and_are_used(text, given, token_s, names, source) -> None:
    small = Small().pod("a", spec([token(audience=INTERNAL)], automountServiceAccountToken=False))
    small.snapshot.issuer, small.snapshot.given_audiences, small.snapshot.token_audiences = (
        "https://issuer",
        given,
        token_s,
    )
    report = small.scan(f"{text}tokens: {{audiences: {{allowed: [nobody]}}}}\n", NAMED)
    assert report.policy.api_audiences == ApiAudiences(names, source)
    assert report.simulated.api_audiences == ApiAudiences((INTERNAL,), AudienceSource.POLICY)
    assert report.summary.pods == (OutcomeCounts(allowed=1) if INTERNAL in names else OutcomeCounts(denied=1))


def test_exit_status_is_1_if_a_workload_would_be_denied() -> None:
    small = Small().pod("a", HOST)
    assert small.scan().exit_status == 0
    assert small.scan(STRICT).exit_status == 1
    assert small.scan("", STRICT).exit_status == 1
    assert small.scan(STRICT, "").exit_status == 0
    assert Small(secret("old", last_used="2026-11-20")).scan().exit_status == 0, "it exists, and stays"


NOT_IN_USE = [
    pytest.param({}, [], id="unused"),
    pytest.param({"invalid_since": "2026-11-01"}, [], id="invalid"),
    pytest.param({"invalid_since": "2026-11-01", "last_used": "2026-11-20"}, [named_secret("old")], id="referenced"),
]


@pytest.mark.parametrize(("labels", "readers"), NOT_IN_USE)
def test_secret_not_in_use_has_no_outcome(labels, readers) -> None:
    small = Small(secret("old", **labels))
    for container in readers:
        small.pod("reads", spec(container=container))
    report = small.scan("", "rules: {legacy-token-secret: warn}\n")
    [legacy] = report.legacy_secrets
    assert (legacy.in_use, legacy.result, legacy.simulated, legacy.change) == (False, None, None, Change.UNCHANGED)
    assert (report.summary.secrets, report.summary.simulated_secrets) == (OutcomeCounts(), OutcomeCounts())
    assert [count for count in report.rule_counts if count.rule == "legacy-token-secret"] == []


@pytest.mark.parametrize(
    ("given", "tracked", "readers"),
    [
        pytest.param({"last_used": "2026-11-20"}, True, False, id="used"),
        pytest.param({"last_used": "2025-11-20"}, True, True, id="referenced"),
        pytest.param({"created": "2026-11-20T00:00:00Z"}, True, False, id="young"),
        pytest.param({}, False, False, id="use not recorded"),
    ],
)
def test_secret_in_use_has_an_outcome(given, tracked, readers) -> None:
    small = Small(secret("old", **given))
    if not tracked:
        small.snapshot.tracked_since = None
    if readers:
        small.pod("reads", spec(container=named_secret("old")))
    report = small.scan()
    [legacy] = report.legacy_secrets
    assert (legacy.in_use, legacy.result.outcome, report.summary.secrets.denied) == (True, Outcome.DENIED, 1)


def test_exemption_of_a_secret_not_in_use_is_unused() -> None:
    exemption = "exemptions: [{rules: [legacy-token-secret], namespaces: [shop], reason: r, until: never}]\n"
    [usage] = Small(secret("old")).scan(exemption).exemptions
    assert usage.status is ExemptionStatus.UNUSED


def test_exit_status_is_2_if_not_all_was_read() -> None:
    small = Small(secret("old"))
    small.snapshot.unread.append(UnreadResource("cronjobs", "", "", "", affects_decisions=True))
    assert small.scan().exit_status == 2


def test_filters_select_findings_but_not_outcomes() -> None:
    small = Small(secret("old")).pod("a", READS | {"volumes": HOST["volumes"]}).pod("b", READS, namespace="other")
    for filters, rules in (
        (ScanFilters(("sh*",), ("kubelet-hostpath",)), ["kubelet-hostpath"]),
        (ScanFilters(("shop",), actions=(Action.PATCH,)), ["token-expiration"]),
        (ScanFilters(("shop",), ("kubelet-hostpath",), (Action.PATCH,)), []),
    ):
        report = small.scan(filters=filters)
        [owner] = report.workloads
        assert [finding.rule for finding in owner.pods[0].evaluation.result.findings] == rules
        assert [count.rule for count in report.rule_counts] == rules
        assert (owner.outcome, report.summary.pods, report.exit_status) == (Outcome.DENIED, OutcomeCounts(denied=1), 1)
    assert small.scan(filters=ScanFilters(("nowhere",))).legacy_secrets == ()


def test_filters_remove_accounts_without_results() -> None:
    small = Small(secret("old"), accounts=(account("app", secrets=[{"name": "old"}]),))
    assert [
        account.name for account in small.scan(filters=ScanFilters(rules=("legacy-token-reference",))).accounts
    ] == ["app"]
    assert small.scan(filters=ScanFilters(rules=("token-audience",))).accounts == ()
    held = "exemptions: [{rules: [legacy-token-reference], namespaces: [shop], reason: held, until: never}]\n"
    assert small.scan(held, filters=ScanFilters(rules=("token-audience",))).accounts == ()
    assert len(small.scan(held, filters=ScanFilters(actions=(Action.WARN,))).accounts) == 1


def drivers() -> Small:
    small = Small()
    small.snapshot.csi_drivers += [
        csi_driver("vault.example.com", {"audience": "vault", "expirationSeconds": 86400}),
        csi_driver("api.example.com", {"audience": ""}),
        csi_driver("fine.example.com", {"audience": "vault"}),
        csi_driver("none.example.com"),
    ]
    return small


def test_csi_driver_violation_is_a_warning() -> None:
    report = drivers().scan("overrides: [{namespaces: ['*'], mode: audit}]\n")
    by_driver = {driver.name: driver.result.findings for driver in report.csi_drivers}
    assert {
        name: [(finding.rule, finding.action, finding.path) for finding in findings]
        for name, findings in by_driver.items()
    } == {
        "api.example.com": [("token-audience", Action.WARN, "spec.tokenRequests[0]")],
        "vault.example.com": [("token-expiration", Action.WARN, "spec.tokenRequests[0]")],
    }
    assert [(count.namespace, count.rule, count.count) for count in report.rule_counts] == [
        ("", "token-audience", 1), ("", "token-expiration", 1),
    ]  # fmt: skip
    assert report.exit_status == 0


def test_csi_drivers_with_filters_are_left_out() -> None:
    assert drivers().scan(filters=ScanFilters(("shop",))).csi_drivers == ()
    [driver] = drivers().scan(filters=ScanFilters(rules=("token-audience",))).csi_drivers
    assert driver.name == "api.example.com"


def test_csi_driver_change_by_simulated_policy_is_reported() -> None:
    report = drivers().scan("tokens: {maxExpirationSeconds: 86400}\n", "")
    assert [(driver.name, driver.change) for driver in report.csi_drivers] == [
        ("api.example.com", Change.UNCHANGED), ("vault.example.com", Change.NEWLY_WARNED),
    ]  # fmt: skip
