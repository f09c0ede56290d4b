"""A scan's report as text and as JSON."""

import json
import re

import click
import jsonschema
import pytest
from msgspec.structs import replace

from tests.formatters.scan_html.reading import Page
from tests.scan.small_cluster import (
    INJECT,
    NOW,
    Small,
    account,
    binding,
    csi_driver,
    live,
    named_secret,
    of,
    role,
    secret,
    spec,
    token,
)
from webhook.core.policy.model import Action
from webhook.core.webhook_namespaces import WebhookScope, WebhookScopes
from webhook.formatters import scan_json, scan_policyreport, scan_text
from webhook.formatters.formatter import FormatOptions
from webhook.formatters.scan_findings import grants_text
from webhook.formatters.scan_html import page
from webhook.formatters.scan_summary import NOT_CALLABLE, NOT_INSTALLED
from webhook.scan.api_types import TRACKING_TITLE
from webhook.scan.counts import OutcomeCounts, RuleCount
from webhook.scan.options import ScanFilters
from webhook.scan.pod_admission import AdmissionHistory
from webhook.scan.rbac import Grant, Permission
from webhook.scan.report import UnreadResource

REFUSED = UnreadResource(
    "secrets", "HTTP 403: no\x1b[31m", "what is lacking", "what to look at", affects_decisions=True
)
EXEMPTIONS = """\
exemptions:
- {rules: [legacy-token-secret], namespaces: [shop], reason: held, until: 2026-12-01}
- {rules: ["*"], namespaces: [nowhere], reason: unused, until: never}
- {rules: [token-expiration], namespaces: [shop], reason: over, until: 2026-11-23}
- {rules: [token-request-expiration], users: [admin], reason: unseen, until: never}
"""


@pytest.fixture
def small_cluster() -> Small:
    found = Small(secret("old"), secret("used", last_used="2026-11-20"), secret("unused"), accounts=(
        account("app", secrets=[{"name": "old"}]),
    ))  # fmt: skip
    found.deployment("web", spec(container=named_secret("old")))
    owned = of("ReplicaSet", "web-1")
    found.pod("web-1-a", spec(container=named_secret("old")), **owned)
    found.pod("web-1-b", live() | {"initContainers": [{"name": "added", **named_secret("used")}]}, **owned)
    return found.pod("bare", live(serviceAccountName="app"))


def text(report, width: int = 0, *, summary: bool = False) -> str:
    return "\n".join(scan_text.format_report(report, FormatOptions(width=width, summary=summary)))


def test_text_lists_pods_that_were_certainly_not_evaluated() -> None:
    small = Small().deployment("web", spec())
    for number, created in enumerate(["2026-11-19", "2026-11-20", "2026-11-22", "2026-11-22"]):
        owner = of("ReplicaSet", "web-1") if number != 3 else {}
        small.pod(f"pod-{number}", live(), creationTimestamp=f"{created}T13:00:00Z", **owner)
    small.snapshot.history = AdmissionHistory(NOW.replace(day=20), NOW.replace(day=21), is_known=True)
    lines = [line.strip() for line in text(small.scan()).splitlines() if "; recreate them" in line]
    early, slipped = (f"admitted without evaluation, {how}" for how in ("before the webhook", "as tokenguard was not"))
    assert lines == [
        f"{early} configuration was created: 1 pod of Deployment/web in shop (token-expiration); recreate them",
        f"{slipped} called: 2 pods of Deployment/web in shop, Pod/pod-3 in shop (token-expiration); recreate them",
    ]


def test_text_says_what_to_correct_before_pods_are_recreated() -> None:
    small = Small(secret("old")).deployment("web", spec(container=named_secret("old")))
    owner = of("ReplicaSet", "web-1")
    small.pod("web-1-a", spec(container=named_secret("old")), creationTimestamp="2026-11-19T13:00:00Z", **owner)
    small.snapshot.history = AdmissionHistory(NOW.replace(day=20), NOW.replace(day=21), is_known=True)
    advice = "first correct these, whose next pods would be denied by legacy-token-reference; then recreate them"
    assert f"(legacy-token-reference); {advice}\n" in text(small.scan())
    [pod] = small.scan().unevaluated_pods
    assert pod.hint.startswith("first correct Deployment/web, whose next pod would be denied by legacy-token-reference")


def test_text_says_in_one_line_that_tokenguard_is_not_installed() -> None:
    small = Small().pod("a", live(), creationTimestamp="2026-11-19T13:00:00Z")
    small.snapshot.history = AdmissionHistory(is_known=True)
    report = small.scan()
    line = f"installed  {NOT_INSTALLED}"
    assert f"\n{line}\n" in text(report)
    assert "admitted without evaluation" not in text(report)
    html = "".join(page.format_report(report))
    assert html.count("no new pod is evaluated") == 1
    assert "recreate them" not in html
    assert "kubectl rollout restart" not in html


def test_webhook_without_ca_bundle_is_named_instead_of_advice() -> None:
    small = Small().deployment("web", spec())
    small.pod("web-1-a", live(), creationTimestamp="2026-11-19T13:00:00Z", **of("ReplicaSet", "web-1"))
    days = NOW.replace(day=20), NOW.replace(day=21)
    small.snapshot.history = AdmissionHistory(*days, is_known=True, lacks_ca_bundle=True)
    report = small.scan()
    assert f"\ninstalled  {NOT_CALLABLE}\n" in text(report)
    assert "1 pod of Deployment/web in shop (token-expiration); first repair tokenguard, see" in text(report)
    html = "".join(page.format_report(report))
    assert [found in text(report) + html for found in ("recreate them", "kubectl rollout restart")] == [False, False]


def test_text_says_what_the_overrides_in_other_modes_would_deny() -> None:
    overrides = "overrides: [{namespaces: [shop], mode: warn}]\n"
    used = secret("used", last_used="2026-11-20")
    small = Small(secret("old"), used, secret("unused")).pod("a", spec(container=named_secret("old")))
    namespace = "1 namespace with workloads or legacy Secrets is not in mode enforce"
    line = f"{namespace}; mode enforce would deny 1 workload and 2 legacy Secrets there; for details,"
    report = small.scan(overrides)
    assert line in text(report)
    assert line in "".join(page.format_report(report))
    simulated = small.scan("", overrides)
    assert f"{line} scan with --policy new.yaml --mode enforce\n" in text(simulated)
    assert "".join(page.format_report(simulated)).count(line) == len(["policies", "headline"])
    off = 'rules: {legacy-token-reference: "off", legacy-token-secret: "off"}\n'
    looks = [look(scanned) for scanned in (report, simulated, small.scan("", off), small.scan())]
    assert looks == ["warned", "warned", "allowed", "denied"]


def test_summary_names_namespaces_in_other_modes() -> None:
    small = Small().pod("a", live())
    small.snapshot.namespaces |= {f"team-{number}": frozenset() for number in range(4)}
    modes = "mode: audit\noverrides: [{namespaces: [shop], mode: enforce}, {namespaces: ['team-*'], mode: warn}]\n"
    shown = "audit, but enforce in shop and warn in 4 namespaces"
    simulated, plain = small.scan("", modes), small.scan(modes)
    assert re.search(f"\nsimulated  [0-9a-f]{{12}}, {shown}: new.yaml\n", text(simulated))
    assert re.search(f"\npolicy     [0-9a-f]{{12}}, {shown}: policy.yaml\n", text(plain))
    for report in (simulated, plain):
        assert f"Its mode is {shown}." in "".join(page.format_report(report))
    outside = small.scan("", modes, filters=ScanFilters(namespaces=("shop",)))
    assert ", audit, but enforce in shop: new.yaml" in text(outside)


def test_text_says_which_secrets_may_be_deleted_now() -> None:
    invalid = (secret(f"invalid-{day}", invalid_since=f"2026-11-{day}") for day in ("01", "10", "11"))
    shown = text(Small(*invalid, secret("unused")).scan())
    [line] = [line for line in shown.splitlines() if line.startswith("safe to delete: ")]
    assert line.startswith(
        "safe to delete: 2 marked invalid for 14 days or more: may be deleted now, with 'tokenguard legacy delete';"
        " 1 marked invalid for less than 14 days: wait, then delete them; 1 with a valid token: first disable them"
    )


def look(report) -> str:
    return re.search(r'class="status (\w+)"', "".join(page.format_report(report)))[1]


@pytest.mark.parametrize("action", ["warn", "audit", '"off"'])
@pytest.mark.parametrize("mode", ["enforce", "warn"])
def test_text_says_what_overrides_let_pass_that_lower_rules(mode, action) -> None:
    rules = f"{{legacy-token-reference: {action}, legacy-token-secret: {action}}}"
    overrides = f"mode: {mode}\noverrides: [{{namespaces: [shop], rules: {rules}}}]\n"
    small = Small(secret("old"), secret("unused")).pod("a", spec(container=named_secret("old"))).pod("b", live())
    line = (
        "overrides make rules less strict in 1 namespace;"
        " without them, mode enforce would deny 1 workload and 1 legacy Secret"
    )
    report = small.scan(overrides)
    assert f"\n           {line}\n" in text(report)
    assert (look(report), f"O{line[1:]}." in "".join(page.format_report(report))) == ("warned", True)
    assert f"\n           {line}\n" in text(small.scan("", overrides))
    raised = f"rules: {rules}\noverrides: [{{namespaces: [shop], rules: {{legacy-token-reference: reject}}}}]\n"
    assert "overrides lower" not in text(small.scan(raised))


def test_headline_names_secrets_that_alone_would_be_denied() -> None:
    small = Small(secret("used", last_used="2026-11-20"), secret("unused")).pod("a", live())
    denied = (
        "No pod or workload would be denied if recreated under this policy, but 1 legacy Secret in use could not be"
        " created again."
    )
    report = small.scan()
    assert text(report).startswith(f"{denied}\n")
    assert (look(report), denied in "".join(page.format_report(report))) == ("warned", True)
    lax = 'rules: {legacy-token-secret: "off"}\n'
    assert text(small.scan(lax)).startswith("Nothing would be denied if recreated under this policy.\n")
    assert text(small.scan("", lax)).startswith("Nothing would be denied if recreated under the simulated policy.\n")
    small.snapshot.secrets_read = False
    small.snapshot.unread.append(REFUSED)
    unread = "No pod or workload would be denied if recreated under this policy, as far as could be read."
    assert text(small.scan()).startswith(f"{unread}\n")


def test_text_says_that_no_finding_is_of_the_selected_rule() -> None:
    small = Small(secret("old")).pod("a", spec(container=named_secret("old")))
    lines = [
        next(line.strip() for line in text(small.scan(filters=ScanFilters(rules=(rule,)))).splitlines() if rule in line)
        for rule in ("token-audience", "legacy-token-reference")
    ]
    assert lines == [
        "showing only rule token-audience (outcomes count all): no such finding",
        "showing only rule legacy-token-reference (outcomes count all)",
    ]


def test_numbers_of_unread_secrets_are_unknown() -> None:
    small = Small().pod("a", live())
    small.snapshot.secrets_read = False
    small.snapshot.unread.append(REFUSED)
    lines = [line.split("  ") for line in text(small.scan()).splitlines()]
    numbers = {line[0]: [cell.strip() for cell in line[1:] if cell] for line in lines if line[-1].strip() in "0?"}
    assert numbers["legacy Secrets in use"] == ["?"] * 4
    assert "legacy     unknown: Secrets could not be read" in text(small.scan())
    assert [line.split() for line in text(small.scan()).splitlines() if " now " in line] == [
        ["now", "?", "1", "0", "0"]
    ]
    assert "Secrets could not be read, so it is not known how many tokens never expire" in "".join(
        page.format_report(small.scan())
    )


def test_text_says_that_the_days_of_use_are_unknown() -> None:
    small = Small(secret("old"))
    small.snapshot.tracked_since = None
    assert "use is not recorded\n" in text(small.scan())
    small.snapshot.unread.append(UnreadResource(TRACKING_TITLE, "HTTP 403", "", "", affects_decisions=False))
    assert "the day on which recording began could not be read, so no Secret counts as unused\n" in text(small.scan())


def test_text_lists_pods_of_an_excluded_namespace_without_advice() -> None:
    small = Small().pod("a", live(), creationTimestamp="2026-11-22T13:00:00Z")
    scopes = WebhookScopes(WebhookScope(excluded=frozenset({"shop"})))
    small.snapshot.history = AdmissionHistory(NOW, NOW, scopes, is_known=True)
    excluded = "admitted without evaluation, as the webhook configuration excludes the namespace"
    shown = text(small.scan())
    assert f"  {excluded}: 1 pod of Pod/a in shop (token-expiration)\n" in shown
    assert "not evaluated, excluded by the webhook configuration: shop\n" in shown


def test_text_shows_the_whole_report(small_cluster) -> None:
    small_cluster.snapshot.unread.append(REFUSED)
    assert (
        text(small_cluster.scan(EXEMPTIONS))
        == """\
2 of 3 pods, 1 of 2 workloads would be denied if recreated under this policy, as far as could be read.
cluster    https://api, 2026-11-24 12:00 UTC
policy     POLICY, enforce: policy.yaml
audiences  the API server's, assumed (see --api-audience): https://kubernetes.default.svc, https://kubernetes.default.svc.cluster.local
scanned    1 namespace, 3 pods of 2 workloads
incomplete outcomes may be wrong: could not read secrets (see the end)
details    below this summary; --summary leaves them out
if recreated under this policy  denied       patched        warned       allowed
pods                                 2             1             0             0
workloads (worst outcome)            1             1             0             0
legacy Secrets in use                0             0             0             2
findings by rule                reject         patch          warn         audit
  legacy-token-reference             2             0             1             0
  token-expiration                   0             3             0             0
tokens in pods           never expires        1 year   over 1 hour  up to 1 hour
  now                                2             2             0             0
  if recreated                       0             0             0             1
  pods that would be denied (2) have no tokens if recreated
legacy     3 Secrets: 2 in use, 1 safe to delete; 0 invalid
           in use: 2 referenced, 1 used in 30 days; use recorded since 2026-02-01
accounts   2 with API tokens: 2 no permissions
exemptions 4 (1 expiring soon): 1 in use, 1 unused, 1 expired, 1 unknown; exempt: 2 legacy Secrets

workloads: denied if recreated
  Deployment/web in shop (2 pods), account default: no permissions; token of app: no permissions
    reject: legacy-token-reference: spec.containers[0].env[0] reads the long-lived token of "app" in Secret "old"; \
mount a projected token instead (1 of 2 pods)
    reject: legacy-token-reference: spec.initContainers[0].env[0] reads the long-lived token of "app" in Secret \
"used"; mount a projected token instead (1 of 2 pods, not in the template)

workloads: patched if recreated
  1 workload, only for the API server's token or an injection
  --output html and json list each

API server tokens and injections
  patch: token-expiration: the API server's token has lifetime 31536000s (Kubernetes extends 3607s to a year), \
exceeding the maximum 3600s; capped to 3600s: 3 pods in shop

legacy Secrets in use: allowed if recreated (exempt: legacy-token-secret)
  Secret/used in shop: token of app (no permissions), created 2026-01-01, last used 2026-11-20
    referenced by Deployment/web (1 pod): spec.initContainers[0].env[0]
  Secret/old in shop: token of app (no permissions), created 2026-01-01, no use recorded since 2026-02-01
    referenced by Deployment/web (1 pod): spec.containers[0].env[0]
    listed by ServiceAccount/app

legacy Secrets not in use
  Secret/unused in shop: token of app (no permissions), created 2026-01-01, no use recorded since 2026-02-01: \
safe to delete

ServiceAccounts with findings
  ServiceAccount/app in shop: warn: legacy-token-reference: secrets[0] lists the long-lived token in Secret "old"; \
remove it from the list

ServiceAccounts with API tokens
  no permissions: 2 ServiceAccounts (app in shop, default in shop): API token in Deployment/web, Pod/bare \
(2 pods); 3 legacy Secrets; unless another service accepts this token (such as \
Vault's kubernetes auth, or OIDC federation), set automountServiceAccountToken: false

tokens in pods by audience and lifetime
  API server, 1 hour: 0 now, 1 if recreated
  API server, 1 year: 2 now, 0 if recreated
  API server, never expires: 2 now, 0 if recreated

exemptions
  legacy-token-secret for everything in shop: in use, covers 2 legacy Secrets; until 2026-12-01 (7 days left); \
reason: held
  * for everything in nowhere: unused; never expires; reason: unused
  token-expiration for everything in shop: expired, would cover 2 workloads (3 pods); until 2026-11-23; reason: over
  token-request-expiration for admin: unknown, depends on the user of a request; never expires; reason: unseen

safe to delete: 1 with a valid token: first disable them with 'tokenguard legacy disable', which can be undone: a \
client that runs less often may still need one. Then delete them. Deleting a Secret revokes its token. Enforce \
legacy-token-secret; otherwise anyone who has a copy of the token can make it valid again, with a new Secret of the \
same name; see 'tokenguard rules legacy-token-secret'

next step: 'tokenguard migrate' writes a checklist for each namespace, and a patch for each workload that refers to \
a legacy Secret; 'tokenguard rules legacy-token-reference' has an example of the projected token

not read: secrets: HTTP 403: no\\x1b[31m
  missing: what is lacking
  hint: what to look at""".replace("POLICY", small_cluster.scan(EXEMPTIONS).policy.revision)
    )


@pytest.mark.parametrize("simulated", [None, INJECT])
def test_text_of_the_summary_alone_lacks_only_the_details(small_cluster, simulated) -> None:
    small_cluster.snapshot.unread.append(REFUSED)
    report = small_cluster.scan(EXEMPTIONS, simulated)
    first, *details, last = text(report).split("\n\n")
    assert details
    alone = first.replace("details    below this summary; --summary leaves them out\n", "")
    assert text(report, summary=True) == f"{alone}\n\n{last}"
    assert last.startswith("not read: secrets")


def test_summary_shows_finished_pods_and_unread_templates(small_cluster) -> None:
    small_cluster.snapshot.unread.append(replace(REFUSED, may_name_secrets=True))
    small_cluster.pod("done", live(), "Succeeded")
    report = small_cluster.scan()
    summary = text(report).partition("\n\n")[0]
    assert "\nscanned    1 namespace, 3 pods of 2 workloads; 1 finished\n" in summary
    in_use = "in use: 2 referenced, 1 used in 30 days, 1 perhaps referenced; "
    assert f"3 in use, 0 safe to delete; 0 invalid\n           {in_use}" in summary
    assert "\n           some workloads that may refer to them could not be read (see the end)\n" in summary
    found = "".join(page.format_report(report))
    assert (
        "Some workloads that may refer to a Secret could not be read, so only Secrets that are marked invalid" in found
    )
    assert "3 pods of 2 workloads; 1 finished" in found


def test_summary_says_what_is_never_evaluated() -> None:
    small = Small(secret("old")).pod("a", live()).pod("b", live())
    small.snapshot.own_namespace = "shop"
    line = (
        "not evaluated, as namespace shop is excluded, except for its Secrets, TokenRequests and policies: 2 workloads"
    )
    assert f"           {line}\n" in text(small.scan())
    assert line in "".join(page.format_report(small.scan()))


def test_summary_counts_uses_of_the_last_days_alone() -> None:
    uses = {"today": "2026-11-24", "lately": "2026-10-26", "before": "2026-10-25", "long-ago": "2025-11-20"}
    small = Small(*(secret(name, last_used=day) for name, day in uses.items()))
    for name in uses:
        small.pod(name, spec(container=named_secret(name)))
    assert "in use: 4 referenced, 2 used in 30 days; " in text(small.scan())
    assert "in use: 4 referenced, 1 used in 29 days; " in text(small.scan(unused_days=29))
    states = [row["State"] for row in Page("".join(page.format_report(small.scan()))).rows("secrets")]
    assert sorted(states) == ["referenced", "referenced", "referenced, used", "referenced, used"]


def test_summary_counts_tokenless_and_exempt_objects() -> None:
    exempt = "exemptions: [{rules: ['*'], namespaces: [shop], reason: r, until: never}]\n"
    small = Small(secret("old")).pod("a", spec(container=named_secret("old")))
    assert "; exempt: " not in text(small.scan())
    report = text(small.scan("", exempt))
    assert "\n  pods that would be denied (1 → 0) have no tokens if recreated\n" in report
    covered = "1 workload (1 pod), 1 legacy Secret"
    assert f"\nexemptions simulated 1: 1 in use; exempt: {covered}\n" in report
    assert f"  * for everything in shop: in use, covers {covered}; never expires; reason: r" in report
    assert "pods that would be denied" not in text(small.scan(exempt))
    filtered = small.scan("", exempt, filters=ScanFilters(rules=("token-audience",)))
    assert text(filtered).endswith(f"; exempt: {covered}")
    counts = json.loads("".join(scan_json.format_report(filtered)))["summary"]
    nothing = dict.fromkeys(("workloads", "pods", "secrets", "serviceAccounts", "csiDrivers"), 0)
    some = nothing | {"workloads": 1, "pods": 1, "secrets": 1}
    assert (counts["exempt"], counts["simulatedExempt"]) == (nothing, some)
    small.snapshot.secrets_read = False
    assert small.scan(exempt).summary.exempt.secrets is None


def test_text_entries_say_why_they_are_under_their_heading() -> None:
    host = {"name": "h", "hostPath": {"path": "/"}}
    small = (
        Small()
        .pod("host", live() | {"volumes": [*live()["volumes"], host]})
        .pod("warned", spec([host], automountServiceAccountToken=False))
    )
    patched, warned = (
        section.splitlines() for section in text(small.scan()).split("\n\n") if section.startswith("workloads: ")
    )
    reason = "    patch: token-expiration: see 'API server tokens and injections'"
    assert (patched[0], patched[-2], len(patched)) == ("workloads: patched if recreated", reason, 4)
    assert (warned[0], len(warned)) == ("workloads: warned if recreated", 3)
    assert reason not in text(small.scan(filters=ScanFilters(actions=(Action.WARN,))))


def test_text_shows_secrets_by_outcome_and_reason() -> None:
    small = Small(secret("used", last_used="2026-11-20"), secret("old"), secret("bad", invalid_since="2026-11-01"))
    heads = [line for line in text(small.scan()).splitlines() if line.startswith(("legacy Secrets", "  Secret/"))][1:]
    assert [head.split(" in shop")[0] for head in heads] == [
        "legacy Secrets in use: denied if recreated (reject: legacy-token-secret)",
        "  Secret/used",
        "legacy Secrets not in use",
        "  Secret/old",
        "  Secret/bad",
    ]
    shown = text(small.scan("rules: {legacy-token-secret: 'off'}\n"))
    assert "\nlegacy Secrets in use: allowed if recreated\n" in shown


def test_text_folds_what_only_needs_permissions() -> None:
    def unread(resource: str, reason: str = "HTTP 403: no", *, affects_decisions: bool = False) -> UnreadResource:
        return UnreadResource(resource, reason, "what accounts may do", "see", affects_decisions=affects_decisions)

    small = Small()
    small.snapshot.unread += [unread("roles"), unread("rolebindings"), unread("other", "HTTP 404: gone")]
    small.snapshot.unread.append(unread("secrets", affects_decisions=True))
    report = text(small.scan())
    folded = "not read, as that needs more permissions: roles, rolebindings\n  missing: what accounts may do\n"
    assert f"\n\n{folded}" in report
    assert [line for line in report.splitlines() if line.startswith("not read: ")] == [
        "not read: other: HTTP 404: gone",
        "not read: secrets: HTTP 403: no",
    ]


def test_text_begins_with_what_would_be_denied() -> None:
    small = Small(secret("old")).pod("a", spec(container=named_secret("old"))).pod("b", live())
    first = "1 of 2 pods, 1 of 2 workloads would be denied if recreated under this policy."
    assert text(small.scan()).startswith(f"{first}\ncluster ")
    off = 'rules: {legacy-token-reference: "off", legacy-token-secret: "off"}\n'
    assert text(small.scan("", off)).startswith("Nothing would be denied if recreated under the simulated policy.\n")


def test_text_ends_with_the_next_step() -> None:
    small = Small(secret("old"), secret("unused")).pod("a", spec(container=named_secret("old")))
    assert [paragraph.partition(":")[0] for paragraph in text(small.scan()).split("\n\n")[-3:]] == [
        "tokens in pods by audience and lifetime\n  API server, never expires",
        "safe to delete",
        "next step",
    ]


def test_text_simulated_policy_shows_changes_by_workload(small_cluster) -> None:
    report = text(small_cluster.scan('rules: {legacy-token-reference: warn, legacy-token-secret: "off"}\n', INJECT))
    assert (
        """
recreated: policy → simulated   denied       patched        warned       allowed
pods                             0 → 2         3 → 1         0 → 0         0 → 0
workloads (worst outcome)        0 → 1         2 → 1         0 → 0         0 → 0
legacy Secrets in use            0 → 2         0 → 0         0 → 0         2 → 0
workloads  1 newly denied, 1 newly patched
"""
        in report
    )
    assert (
        report.partition("\n\n")[2]
        == """\
workloads: newly denied if recreated (before: patched)
  Deployment/web in shop (2 pods), account default: no permissions; token of app: no permissions
    + reject: legacy-token-reference: spec.containers[0].env[0] reads the long-lived token of "app" in Secret "old"; \
mount a projected token instead (1 of 2 pods)
    + reject: legacy-token-reference: spec.initContainers[0].env[0] reads the long-lived token of "app" in Secret \
"used"; mount a projected token instead (1 of 2 pods, not in the template)
    - warn: legacy-token-reference: spec.containers[0].env[0] reads the long-lived token of "app" in Secret "old"; \
mount a projected token instead (1 of 2 pods)
    - warn: legacy-token-reference: spec.initContainers[0].env[0] reads the long-lived token of "app" in Secret \
"used"; mount a projected token instead (1 of 2 pods, not in the template)

legacy Secrets in use: newly denied if recreated (+ reject: legacy-token-secret)
  Secret/used in shop: token of app (no permissions), created 2026-01-01, last used 2026-11-20
    referenced by Deployment/web (1 pod): spec.initContainers[0].env[0]
  Secret/old in shop: token of app (no permissions), created 2026-01-01, no use recorded since 2026-02-01
    referenced by Deployment/web (1 pod): spec.containers[0].env[0]
    listed by ServiceAccount/app

workloads: newly patched if recreated
  1 workload, only for the API server's token or an injection
  --output html and json list each

API server tokens and injections
  + patch: inject: has no token "vault" for "https://vault.example.com"; injected at /vault/token: 3 pods in shop

tokens in pods by audience and lifetime
  API server, 1 hour: 0 now, 3 if recreated, 1 simulated
  API server, 1 year: 2 now, 0 if recreated, 0 simulated
  API server, never expires: 2 now, 2 if recreated, 0 simulated
  "https://vault.example.com", 1 hour: 0 now, 0 if recreated, 1 simulated"""
    )


CAP = (
    "patch: token-expiration: the API server's token has lifetime 31536000s (Kubernetes extends 3607s to a year),"
    " exceeding the maximum "
)
INJECTED = 'patch: inject: has no token "vault" for "https://vault.example.com"; injected at /vault/token'
TOKENS_LIE_THERE = (
    """is "/var/lib/kubelet/pods", which contains every pod's tokens; mount only the folder that is needed"""
)
HOST = {"name": "h", "hostPath": {"path": "/var/lib/kubelet/pods"}}


@pytest.mark.parametrize(("now", "then", "expected"), [
    ('rules: {kubelet-hostpath: "off"}\n', "", [
        "newly warned",
        f"+ warn: kubelet-hostpath: spec.volumes[1].hostPath {TOKENS_LIE_THERE}",
    ]),
    ("", "tokens: {maxExpirationSeconds: 600}\n", [
        "patched differently",
        f"+ {CAP}600s; capped to 600s",
        f"- {CAP}3600s; capped to 3600s",
    ]),
    (INJECT, "", [
        "patched differently",
        f"- {INJECTED}",
    ]),
    (INJECT, INJECT.replace("mountPath", "expirationSeconds: 1800, mountPath"), [
        "patched differently",
        '+ token: "https://vault.example.com": 30 minutes',
        '- token: "https://vault.example.com": 1 hour',
    ]),
    (INJECT, INJECT.replace("mountPath", "env: VAULT, mountPath"), [
        "patched differently",
        f"+ {INJECTED} (env VAULT)",
        f"- {INJECTED}",
    ]),
    (INJECT, INJECT.replace("//vault.", "//other."), [
        "patched differently",
        f"+ {INJECTED.replace('//vault.', '//other.')}",
        f"- {INJECTED}",
    ]),
    (INJECT, f"{INJECT}rules: {{kubelet-hostpath: reject, token-expiration: audit}}\n", None),
], ids=[
    "a warning", "a shorter maximum", "an injection that is gone", "without a finding",
    "a variable", "another audience", "several at once",
])  # fmt: skip
def test_text_shows_every_difference_of_two_policies(now, then, expected) -> None:
    pod = live()
    pod["volumes"].append(HOST)
    sections = text(Small().pod("a", pod).scan(now, then)).partition("\n\n")[2].partition("\n\ntokens in pods")[0]
    title, *lines = [line.strip() for line in sections.splitlines() if line and not line.startswith("  Pod/a")]
    lines = [line.removesuffix(": 1 pod in shop") for line in lines if line[0] in "+-" and line[1] == " "]
    if expected:
        assert [title, *lines] == [f"workloads: {expected[0]} if recreated", *expected[1:]]
    else:
        signs = [" ".join(line.split(": ", 2)[:2]) for line in lines]
        assert signs == [
            "+ reject kubelet-hostpath", "- warn kubelet-hostpath",
            "+ audit token-expiration", "- patch token-expiration",
        ]  # fmt: skip


def test_text_shows_severe_changes_of_all_namespaces_first() -> None:
    small = Small(secret("old")).pod("last", spec(container=named_secret("old"))).pod("api", live())
    small.snapshot.namespaces["a"] = frozenset()
    for number in range(7):
        tokenless = spec([HOST], automountServiceAccountToken=False)
        small.pod(f"p{number}", tokenless, namespace="shop" if number % 2 else "a")
    now = 'rules: {kubelet-hostpath: "off", legacy-token-reference: "off", token-expiration: "off"}\n'
    sections = text(small.scan(now, "")).split("\n\n")[1:]
    assert [section.partition("\n")[0] for section in sections][:4] == [
        "workloads: newly denied if recreated",
        "workloads: newly patched if recreated",
        "workloads: newly warned if recreated",
        "API server tokens and injections",
    ]
    entries = [line for section in sections for line in section.splitlines() if line.startswith("  Pod/")]
    assert entries[0].startswith("  Pod/last in shop, ")
    assert [" more workloads with 6 pods and the same permissions" in entry for entry in entries] == [False, True]


def test_text_names_what_an_exemption_newly_covers() -> None:
    small = Small(secret("old")).pod("a", spec(container=named_secret("old")))
    exempt = "exemptions: [{rules: ['*'], namespaces: [shop], reason: INFRA-1, until: 2027-03-31}]\n"
    report = text(small.scan("mode: warn\n", exempt))
    section = report[report.index("workloads: newly allowed if recreated (before: warned)") :].partition("\n\n")[0]
    finding = 'legacy-token-reference: spec.containers[0].env[0] reads the long-lived token of "app" in Secret "old"'
    until = "(exemption until 2027-03-31: INFRA-1)"
    assert [line.partition("; ")[0] for line in section.splitlines()[1:]] == [
        "  Pod/a in shop, account default: no permissions",
        f"    + exempt: {finding} {until}",
        f"    - warn: {finding}",
    ]
    assert re.search(
        rf"\n  \+ exempt: token-expiration: the API server's token .* {re.escape(until)}: 1 pod in shop", report
    )
    reasons = "+ exempt: legacy-token-secret, - warn: legacy-token-secret"
    assert f"\nlegacy Secrets in use: newly allowed if recreated ({reasons})\n  Secret/old in shop: " in report
    removed = text(small.scan(exempt, ""))
    assert f"\n    - exempt: {finding} {until}\n" in removed


@pytest.mark.parametrize("pods", [5, 6])
def test_text_says_where_folded_changes_are_listed(pods) -> None:
    small = Small()
    for number in range(pods + 1):
        small.pod(f"p{number}", spec([HOST]))
    changes = text(small.scan('rules: {kubelet-hostpath: "off"}\n', "")).split("\n\n")[1]
    assert ("and 1 more in shop" in changes, "\n  --output html and json list each" in changes) == (pods > 5, pods > 5)


def test_text_shows_changes_of_accounts() -> None:
    small_cluster = Small(secret("old"), accounts=(account("app", secrets=[{"name": "old"}]),))
    report = text(small_cluster.scan('rules: {legacy-token-reference: "off"}\n', ""))
    finding = "+ warn: legacy-token-reference: secrets[0] lists"
    assert f"\n\nServiceAccounts with findings\n  ServiceAccount/app in shop: {finding}" in report


def test_text_shows_csi_drivers() -> None:
    small_cluster = Small()
    small_cluster.snapshot.csi_drivers.append(
        csi_driver("vault.example.com", {"audience": "vault", "expirationSeconds": 86400})
    )
    finding = "warn: token-expiration: spec.tokenRequests[0] has lifetime 86400s"
    assert f"\nCSIDrivers\n  CSIDriver/vault.example.com: {finding}" in text(small_cluster.scan())
    changed = text(small_cluster.scan('rules: {token-expiration: "off"}\n', ""))
    assert f"\nCSIDrivers\n  CSIDriver/vault.example.com: + {finding}" in changed


def test_summary_fits_a_screen(small_cluster) -> None:
    small_cluster.snapshot.unread += [REFUSED] * 20
    small_cluster.pod("host", spec([{"name": "h", "hostPath": {"path": "/"}}]))
    report = small_cluster.scan(EXEMPTIONS, EXEMPTIONS + INJECT + "rules: {token-request-binding: reject}\n")
    summary = text(report, width=80).partition("\n\n")[0].split("\n")
    assert len(summary) <= 35, "24 and the second lines of long values"
    assert max(map(len, summary)) <= 80
    words = " ".join(" ".join(summary).split())
    assert "https://kubernetes.default.svc, https://kubernetes.default.svc.cluster.local" in words
    assert "…" not in words


@pytest.mark.parametrize(("now", "simulated", "expected"), [
    (100_000, 120_000, "100000→120000"),
    (99_999, 120_000, "99999→120000"),
    (9_999, 120_000, "9999 → 120000"),
    (1_000_000, 9_949_999, "1.0M→9.9M"),
])  # fmt: skip
def test_summary_large_numbers_fit_their_columns(now, simulated, expected) -> None:
    summary = Small().pod("a", live()).scan("", "")
    counts, other = (OutcomeCounts(number, number, number, number) for number in (now, simulated))
    large = replace(summary.summary, pods=counts, simulated_pods=other)
    [row] = [line for line in text(replace(summary, summary=large)).split("\n") if line.startswith("pods ")]
    assert row == "pods" + " " * 20 + f"{expected:>14}" * 4
    assert (len(row), row.count(" " + expected)) == (80, 4)


def test_summary_long_rule_name_keeps_columns_aligned(small_cluster) -> None:
    count = RuleCount("shop", "token-request-expiration", Action.REJECT, 7)
    [head, row] = [
        line
        for line in text(replace(small_cluster.scan(), rule_counts=(count,))).split("\n")
        if line.startswith(("findings by rule", "  token-request-expiration"))
    ]
    assert row.index("7") + 1 == head.index("reject") + len("reject")
    assert len(row) == 80


def test_text_shows_filters_and_counts_all(small_cluster) -> None:
    only = ScanFilters(namespaces=("sh*",), rules=("token-expiration",), actions=(Action.PATCH,))
    lines = text(small_cluster.scan(filters=only)).split("\n")
    assert lines[5:10] == [
        "           showing only namespace sh*",
        "           showing only rule token-expiration; action patch (outcomes count all)",
        "details    below this summary; --summary leaves them out",
        "if recreated under this policy  denied       patched        warned       allowed",
        "pods                                 2             1             0             0",
    ]
    assert not [line for line in lines if "legacy-token-reference" in line]
    assert [line for line in lines if "patch: token-expiration: the API server's token has lifetime" in line]


def test_exemption_that_unread_secrets_may_need_is_unknown() -> None:
    small = Small().pod("a", live())
    small.snapshot.unread.append(REFUSED)
    exemption = "{rules: [legacy-token-reference], namespaces: [shop], reason: r, until: never}"
    report = small.scan(f"exemptions: [{exemption}]\n")
    assert "\nexemptions 1: 1 unknown\n" in text(report)
    assert "shop: unknown, not everything that it covers could be read; never expires" in text(report)


def test_no_format_lists_pods_if_the_webhook_was_not_read() -> None:
    small = Small().pod("a", live(), creationTimestamp="2026-11-19T13:00:00Z")
    report = small.scan()
    assert report.webhook_exists is None
    formats = (scan_text, scan_json, page, scan_policyreport)
    shown = ["".join(map(str, each.format_report(report))) for each in formats]
    assert [
        word for word in ("kubectl rollout", "kubectl delete", "as it runs") for found in shown if word in found
    ] == []


def test_text_simulated_says_which_pods_a_change_is_about() -> None:
    small = Small(secret("old")).deployment("web", spec()).pod("web-1-a", live(), **of("ReplicaSet", "web-1"))
    extra = live() | {"initContainers": [{"name": "added", **named_secret("old")}]}
    for name in ("web-1-b", "web-1-c"):
        small.pod(name, extra, **of("ReplicaSet", "web-1"))
    report = small.scan('rules: {legacy-token-reference: "off"}\n', "")
    assert "; mount a projected token instead (2 of 3 pods, not in the template)\n" in text(report)
    assert "(2 of 3 pods, not in the template)" in "".join(page.format_report(report)).replace("<wbr>", "")


def test_text_simulated_findings_show_both_policies(small_cluster) -> None:
    report = text(small_cluster.scan("rules: {legacy-token-reference: warn}\n", ""))
    [head] = [line for line in report.split("\n") if line.startswith("findings")]
    assert " ".join(head.split()) == "findings: policy → simulated reject patch warn audit"
    [row] = [line for line in report.split("\n") if line.startswith("  legacy-token-reference ")]
    assert " ".join(row.split()) == "legacy-token-reference 0 → 2 0 → 0 3 → 1 0 → 0"


@pytest.mark.parametrize(("small", "filters", "has_details"), [
    (Small(), ScanFilters(), False),
    (Small().pod("a", live()), ScanFilters(rules=("inject",)), False),
    (Small().pod("a", live()), ScanFilters(), True),
], ids=["empty", "no such finding", "details"])  # fmt: skip
def test_text_announces_details_only_if_there_are_some(small, filters, has_details) -> None:
    report = text(small.scan(filters=filters))
    assert ("\ndetails " in report, "\n\n" in report) == (has_details, has_details)


def test_text_filtered_changes_are_only_counted() -> None:
    small_cluster = Small().pod("a", live()).pod("b", spec([HOST]))
    strict = "rules: {kubelet-hostpath: reject}\n"
    report = text(small_cluster.scan(INJECT, strict, filters=ScanFilters(rules=("kubelet-hostpath",))))
    assert "workloads  1 newly denied, 1 patched differently\n" in report
    assert "\n\nworkloads with changes\n  Pod/b in shop, " in report
    assert "Pod/a" not in report
    assert "inject" not in report


def test_text_shows_exemption_status() -> None:
    small_cluster = Small(secret("old")).pod("a", spec(container=named_secret("old")))
    small_cluster.snapshot.namespaces["other"] = frozenset()
    exemptions = """\
exemptions:
- {rules: [legacy-token-reference], namespaces: [shop], reason: soon over, until: 2026-11-30}
- {rules: [legacy-token-reference], namespaces: ["s*"], reason: for good, until: never}
- {rules: [legacy-token-reference], namespaces: [shop], serviceAccounts: [default, app], reason: as well, until: never}
- {rules: [legacy-token-reference], namespaces: [other], reason: elsewhere, until: never}
- {rules: [legacy-token-reference], namespaces: [other], reason: over there, until: 2026-01-01}
"""
    report = text(small_cluster.scan(exemptions, filters=ScanFilters(("shop",))))
    assert (
        "exemptions 5 (1 expiring soon): 1 in use, 2 shadowed, 1 not scanned, 1 expired; exempt: 1 workload (1 pod)\n"
        in report
    )
    *listed, outside = report.split("\nexemptions\n")[1].split("\n\n")[0].split("\n")
    assert [line.partition(": ")[2].partition("; ")[0] for line in listed] == [
        "in use, covers 1 workload (1 pod)",
        'shadowed by an earlier one ("soon over", until 2026-11-30)',
        'shadowed by an earlier one ("soon over", until 2026-11-30)',
    ]
    assert outside == (
        "  1 not scanned, 1 expired, with namespaces outside of the scan; --output html and json list each"
    )


def bound(small: Small, account: str, *rules: dict[str, object], namespace: str | None = None) -> None:
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "shop"}
    small.snapshot.permissions.add_role(role(account, *rules))
    small.snapshot.permissions.add_binding(
        binding(subject, to=f"ClusterRole/{account}", name=account, namespace=namespace)
    )


def test_text_shows_the_most_powerful_accounts_first() -> None:
    small = Small(secret("old", account="limited"), secret("new", account="root"))
    for name in ("root", "limited", "idle"):
        small.pod(name, live(serviceAccountName=name) | {"initContainers": [{"name": "i", **named_secret("old")}]})
    bound(small, "root", {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
    bound(small, "limited", {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}, namespace="shop")
    found = text(small.scan())
    assert "accounts   3 with API tokens: 1 cluster-admin, 1 dangerous in some namespaces, 1 no permissions\n" in found
    entries = [line for line in found.split("\n") if line.startswith("  Pod/")]
    assert entries == [
        "  Pod/root in shop, account root: cluster-admin; token of limited: may read Secrets in shop",
        "  Pod/idle in shop, account idle: no permissions; token of limited: may read Secrets in shop",
        "  Pod/limited in shop, account limited: may read Secrets in shop",
    ]
    secrets = [line.partition(",")[0] for line in found.split("\n") if line.startswith("  Secret/")]
    assert secrets == [
        "  Secret/old in shop: token of limited (may read Secrets in shop)",
        "  Secret/new in shop: token of root (cluster-admin)",
    ]
    accounts = found.partition("\nServiceAccounts with API tokens\n")[2].split("\n")
    assert [line.split(":")[0] for line in accounts[:3]] == [
        "  cluster-admin", "  may read Secrets in shop", "  no permissions",
    ]  # fmt: skip


def test_text_shows_permissions_without_a_running_pod() -> None:
    small = Small(secret("old", account="root"), secret("other", account="app"))
    small.deployment("z-idle", spec(container=named_secret("old"), serviceAccountName="quiet"), replicas=0)
    small.deployment("bound", spec(container=named_secret("other"), serviceAccountName="app"), replicas=0)
    bound(small, "root", {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
    bound(small, "app", {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}, namespace="shop")
    heads = [line for line in text(small.scan()).split("\n") if line.startswith("  Deployment/")]
    assert heads == [
        "  Deployment/z-idle in shop (0 pods), account quiet: no permissions; token of root: cluster-admin",
        "  Deployment/bound in shop (0 pods), account app: may read 1 resource (pods) in shop",
    ]
    rows = Page("".join(page.format_report(small.scan()))).rows("workloads")
    assert [(row["Workload"], row["Account"]) for row in rows] == [
        ("Deployment/z-idle", "quiet: no permissions; token of root: cluster-admin"),
        ("Deployment/bound", "app: may read 1 resource (pods) in shop"),
    ]


def test_dangerous_and_used_secrets_come_first() -> None:
    small = Small(
        secret("a-unused", account="idle"),
        secret("invalid", account="root", invalid_since="2026-11-01"),
        secret("root-old", account="root"),
        secret("root-used", account="root", last_used="2026-11-20"),
    )
    bound(small, "root", {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
    expected = ["root-used", "root-old", "a-unused", "invalid"]
    lines = [line for line in text(small.scan()).split("\n") if line.startswith("  Secret/")]
    assert [line.split()[0].removeprefix("Secret/") for line in lines] == expected
    rows = Page("".join(page.format_report(small.scan()))).rows("secrets")
    assert [(row["Secret"], row["Permissions"]) for row in rows] == [
        (name, "no permissions" if name == "a-unused" else "cluster-admin") for name in expected
    ]


def test_page_names_all_permissions() -> None:
    small = Small(secret("old", account="root", last_used="2026-11-20")).pod("a", live(serviceAccountName="root"))
    granted = {"serviceaccounts/token": "create", "secrets": "get", "pods/exec": "create", "pods": "create"}
    bound(small, "root", *({"apiGroups": [""], "resources": [key], "verbs": [granted[key]]} for key in granted))
    found = Page("".join(page.format_report(small.scan())))
    full = "may create tokens, read Secrets, execute in pods and create workloads in all namespaces"
    assert [row["Permissions"] for row in found.rows("accounts-with-tokens")] == [full]
    assert [row["Permissions"] for row in found.rows("secrets")] == [full]
    assert [row["Account"] for row in found.rows("workloads")] == [f"root: {full}"]


def test_grants_name_three_permissions_and_count_the_others() -> None:
    permissions = [*Permission][1:-1]
    grants = [Grant(permission, ("a", "b")) for permission in permissions]
    first = "may escalate/bind/impersonate, create tokens and read Secrets in a, b"
    assert grants_text(grants) == f"{first}; 4 more permissions"
    assert grants_text(grants[:4]) == f"{first}; 1 more permission"
    assert grants_text(grants[2:3]) == "may read Secrets in a, b"
    everywhere = [Grant(Permission.EVERYTHING, ("a",)), Grant(Permission.READ, ())]
    assert grants_text(everywhere) == "admin in a; may read resources in all namespaces"


@pytest.mark.parametrize(("resources", "expected"), [
    (["pods"], "1 resource (pods)"),
    (["bindings", "events", "pods"], "3 resources (pods, bindings, events)"),
    (["a", "b", "configmaps", "secrets"], "4 resources (secrets, configmaps, a, ...)"),
    (["some secrets"], "1 resource (some secrets)"),
    (["*"], "all resources"),
    (["*.apps", "*.core"], "all resources of apps, core"),
    (["*.apps", "pods"], "all resources of apps and 1 other resource"),
])  # fmt: skip
def test_grants_name_the_most_notable_resources(resources, expected) -> None:
    assert grants_text([Grant(Permission.READ, (), tuple(resources))]) == f"may read {expected} in all namespaces"
    secrets = Grant(Permission.SECRETS, ())
    write = Grant(Permission.WRITE, (), tuple(resources))
    assert grants_text([secrets, write]) == f"may read Secrets and write {expected} in all namespaces"


def test_text_counts_pods_and_templates_without_pods() -> None:
    small = Small().pod("a", live()).deployment("idle", spec(), replicas=0)
    assert ": 1 pod and 1 template without pods in shop\n" in text(small.scan())


def test_text_folds_workloads_with_the_same_findings() -> None:
    small = Small(secret("old"))
    for number in range(30):
        small.pod(f"p-{number:02}", spec(container=named_secret("old")))
    found = text(small.scan())
    assert found.count("reject: legacy-token-reference") == 1
    accounts = "account default: no permissions; token of app: no permissions"
    others = ", ".join(f"Pod/p-{number:02} in shop" for number in range(1, 6))
    more = f"and 29 more workloads with 29 pods and the same permissions: {others} and 24 more in shop (24)"
    assert f"  Pod/p-00 in shop, {accounts}; {more}\n" in found
    assert "\n  --output html and json list each\n" in found.partition("\nServiceAccounts")[0]


def test_folded_workloads_name_their_namespaces_and_permissions() -> None:
    small = Small()
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    small.snapshot.permissions.add_role(role("reader", *rules))
    for number in range(14):
        namespace = f"n{number:02}" if number < 13 else "n12"
        pod = spec([token(audience="")], serviceAccountName=f"a{number}")
        small.pod(f"p{number}", pod, namespace=namespace)
        if number != 1:
            subject = {"kind": "ServiceAccount", "name": f"a{number}", "namespace": namespace}
            small.snapshot.permissions.add_binding(binding(subject, to="ClusterRole/reader", namespace=namespace))
    first, second = [line for line in text(small.scan()).split("\n") if line.startswith("  Pod/")]
    assert first == (
        "  Pod/p0 in n00, account a0: may read Secrets in their own namespace; and 12 more workloads with 12 pods and"
        " the same permissions: Pod/p2 in n02, Pod/p3 in n03, Pod/p4 in n04, Pod/p5 in n05, Pod/p6 in n06 and 7 more in"
        " n12 (2), n07, n08, n09, n10 and 1 more namespaces"
    )
    assert second == "  Pod/p1 in n01, account a1: no permissions"


def test_findings_that_lead_to_the_outcome_come_first() -> None:
    host = {"name": "h", "hostPath": {"path": "/var/lib/kubelet"}}
    small = Small().pod("a", spec([token(audience="", expirationSeconds=86400), host]))
    small.pod("b", live() | {"volumes": [*live()["volumes"], host]})
    denied, patched = (section for section in text(small.scan()).split("\n\n") if section.startswith("workloads: "))
    assert re.findall(r"^    (\w+): ", denied, re.MULTILINE) == ["reject", "patch", "warn"]
    assert re.findall(r"^    (\w+): ", patched, re.MULTILINE) == ["patch", "warn"]
    findings = Page("".join(page.format_report(small.scan()))).rows("workloads")[0]["Findings"]
    assert [*dict.fromkeys(re.findall(r"reject|patch|warn", findings))] == ["reject", "patch", "warn"]


def test_secret_that_is_too_new_to_tell_says_so() -> None:
    small = Small(secret("new", created="2026-11-24T00:00:00Z"), secret("old", last_used="2026-11-20"))
    found = text(small.scan())
    assert "in use: 0 referenced, 1 used in 30 days, 1 too new to tell; use recorded" in found
    assert ", no use recorded since 2026-11-24, too new to tell, so it counts as in use\n" in found
    rows = {row["Secret"]: row["State"] for row in Page("".join(page.format_report(small.scan()))).rows("secrets")}
    assert rows == {"new": "too new to tell", "old": "used"}


def test_secret_of_unknown_use_says_so_once() -> None:
    small = Small(secret("old"))
    small.snapshot.tracked_since = None
    assert ", created 2026-01-01, unknown use, so it counts as in use\n" in text(small.scan())


def test_text_with_filters_shows_only_these_findings(small_cluster) -> None:
    found = text(small_cluster.scan(EXEMPTIONS, filters=ScanFilters(actions=(Action.REJECT,))))
    details = found.partition("\n\n")[2]
    heads = "workloads", "", "legacy Secrets in use (exempt: legacy-token-secret)"
    assert {line for line in details.split("\n") if not line.startswith(" ")} == {*heads}
    entries = details.partition("\n\n")[0].split("\n")
    assert all("reject: " in line for line in entries[2:])


def test_text_with_filters_names_no_outcome_of_other_findings() -> None:
    small = Small(secret("old")).pod("reads", live() | {"initContainers": [{"name": "i", **named_secret("old")}]})
    small.pod("names-none", spec([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]))
    exempt = "exemptions: [{rules: [legacy-token-reference], namespaces: [shop], reason: r, until: never}]\n"
    shown = ScanFilters(actions=(Action.REJECT,))
    found = text(small.scan(exempt, filters=shown))
    entries = found.partition("\n\nworkloads\n")[2].partition("\n\n")[0].split("\n")
    assert [line.split(" in shop, ")[0].partition(": spec")[0] for line in entries] == [
        "  Pod/names-none", "    reject: token-audience", "  Pod/reads", "    exempt: legacy-token-reference",
    ]  # fmt: skip
    assert "if recreated\n" not in found.partition("\n\n")[2]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_text_fits_the_width_of_a_terminal(small_cluster, width) -> None:
    report = small_cluster.scan(EXEMPTIONS)
    wrapped = "\n".join(scan_text.format_report(report, FormatOptions(width=width)))
    details = wrapped.partition("\n\n")[2]
    assert max(map(len, details.split("\n"))) <= width
    assert wrapped.split() == text(report).split()


def test_text_with_colour_is_the_same_text(small_cluster) -> None:
    report = small_cluster.scan()
    coloured = "\n".join(scan_text.format_report(report, FormatOptions(colour=True)))
    assert "\x1b[31m\x1b[1mreject\x1b[0m: legacy-token-reference" in coloured
    assert click.unstyle(coloured) == text(report)


@pytest.mark.parametrize("simulated", [None, INJECT])
def test_json_is_valid_and_has_every_property(small_cluster, simulated) -> None:
    small_cluster.snapshot.unread.append(REFUSED)
    report = json.loads("".join(scan_json.format_report(small_cluster.scan(EXEMPTIONS, simulated))))
    schema = scan_json.schema()
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(report)
    assert report["version"] == scan_json.VERSION == 2
    assert set(report) == set(schema["properties"]) == set(schema["required"])
    for workload in report["workloads"]:
        assert set(workload) == set(schema["$defs"]["ScannedWorkload"]["properties"])
    assert (report["workloads"][0]["podCount"], report["workloads"][0]["outcome"]) == (2, "denied")
    assert report["time"] == "2026-11-24T12:00:00Z"


def test_schema_describes_every_property() -> None:
    for name, definition in scan_json.schema()["$defs"].items():
        for key, described in definition.get("properties", {}).items():
            assert len(described["description"]) > 5, (name, key)


def test_accounts_with_equal_findings_or_permissions_are_folded() -> None:
    small = Small(*(secret(f"token-{number}", account=f"a{number}") for number in range(9)))
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    small.snapshot.permissions.add_role(role("reader", *rules))
    for number in range(9):
        listed = [{"name": "other"}, {"name": f"token-{number}"}][number % 2 :]
        small.snapshot.accounts.append(account(f"a{number}", secrets=listed))
        namespace = f"team-{number % 3}" if number > 2 else "shop"
        subject = {"kind": "ServiceAccount", "name": f"a{number}", "namespace": namespace}
        small.snapshot.permissions.add_binding(binding(subject, to="ClusterRole/reader", namespace=namespace))
        if number > 2:
            small.pod(f"p{number}", live(serviceAccountName=f"a{number}"), namespace=namespace)
    lines = text(small.scan()).splitlines()
    start = lines.index("ServiceAccounts with findings")
    assert lines[start + 1] == (
        "  ServiceAccount/a0 in shop: warn: legacy-token-reference: secrets[1] lists the long-lived token in Secret"
        ' "token-0"; remove it from the list; and 8 more such findings: ServiceAccount/a1 in shop, ServiceAccount/a2 in'
        " shop, ServiceAccount/a3 in shop, ServiceAccount/a4 in shop, ServiceAccount/a5 in shop and 3 more"
    )
    assert lines[start + 2] == "  --output html and json list each"
    permissions, idle, last = lines[start + 5 : start + 8]
    assert permissions.startswith("  may read Secrets in their own namespace: 9 ServiceAccounts (")
    assert idle.startswith("  no permissions: 6 ServiceAccounts (")
    assert last == "  --output html and json list each"


def test_text_folds_secrets_of_the_same_state_and_permissions() -> None:
    used = (secret(f"used-{number}", last_used=f"2026-11-2{number}") for number in range(5))
    unused = (secret(f"unused-{number}", account=f"a{number}") for number in range(4))
    small = Small(*used, *unused, secret("root", account="root"), secret("bad", invalid_since="2026-11-01"))
    bound(small, "root", {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
    for number in range(8):
        small.pod(f"p{number}", spec(container=named_secret("used-0")))
    lines = text(small.scan()).splitlines()
    start = lines.index("legacy Secrets in use: denied if recreated (reject: legacy-token-secret)")
    in_use, unused = "\n".join(lines[start:]).split("\n\n")[:2]
    assert [line.partition(":")[0] for line in in_use.splitlines()[1:]] == [
        "  Secret/used-4 in shop", "  Secret/used-3 in shop", "  Secret/used-2 in shop",
        "  and 1 more Secret in this state, with these permissions",
        "  Secret/used-0 in shop",
        *(f"    referenced by Pod/p{number}" for number in range(5)), "    and 3 more such lines",
        "  --output html and json list each",
    ]  # fmt: skip
    assert [line.partition(",")[0] for line in unused.splitlines()] == [
        "legacy Secrets not in use",
        "  Secret/root in shop: token of root (cluster-admin)",
        *(f"  Secret/unused-{number} in shop: token of a{number} (no permissions)" for number in range(3)),
        "  and 1 more Secret in this state",
        "  Secret/bad in shop: token of app (no permissions)",
        "  --output html and json list each",
    ]
    assert "  and 1 more Secret in this state, with these permissions: unused-3 in shop" in lines


BY_HAND = spec([token()], automountServiceAccountToken=False)


@pytest.mark.parametrize(("pods", "advice"), [
    ([live()], "set automountServiceAccountToken: false"),
    ([BY_HAND], "remove it from the volumes that project it"),
    ([live(), BY_HAND], "set automountServiceAccountToken: false and remove it from the volumes that project it"),
], ids=["automounted", "by hand", "both"])  # fmt: skip
def test_text_advice_for_tokens_fits_their_source(pods, advice) -> None:
    small = Small()
    for number, pod in enumerate(pods):
        small.pod(f"p{number}", pod)
    [line] = [line for line in text(small.scan()).splitlines() if "API token in Pod/p0" in line]
    assert line.endswith(f"OIDC federation), {advice}")
