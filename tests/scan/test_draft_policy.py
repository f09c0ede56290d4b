"""A policy that is drafted from a scan denies nothing that runs."""

import datetime as dt
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scan.small_cluster import (
    NOW,
    VAULT,
    Small,
    binding,
    live,
    named_secret,
    role,
    secret,
    spec,
    token,
)
from webhook.core.decision import Outcome
from webhook.core.documents.yaml_writer import write_document
from webhook.core.policy.lint import ineffective
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Mode, Policy
from webhook.formatters.policy_draft import draft_lines
from webhook.scan.draft_policy import (
    account_grants,
    allowed_audiences,
    audiences_in_use,
    base_document,
    denied_secrets,
    denied_workloads,
    draft_policy,
    exempt_grants,
    exempt_objects,
)
from webhook.scan.exemption_usage import ExemptionStatus
from webhook.scan.options import AudienceSource
from webhook.scan.rbac import Grant, Permission

UNTIL = dt.date(2027, 2, 1)
ENFORCED = "rules: {legacy-token-secret: reject}\n"
UNSEEN = {"token-request-expiration": "warn", "token-request-audience": "warn"}


def small_cluster(pods: int = 1) -> Small:
    small = Small(secret("old"), secret("other", account="robot"))
    small.deployment("web", spec(container=named_secret("other"), serviceAccountName="web"))
    for number in range(3 * pods):
        small.pod(f"fine-{number}", live())
    for number in range(pods):
        small.pod(f"reads-{number}", spec(container=named_secret("old"), serviceAccountName="app"))
        small.pod(f"vault-{number}", spec([token(audience=VAULT)], serviceAccountName="client"))
    return small


@pytest.mark.parametrize("exempts_secrets", [False, True])
@pytest.mark.parametrize("pods", [1, 2, 5])
def test_draft_denies_nothing_that_runs(pods, exempts_secrets):
    small = small_cluster(pods)
    text = write_document(draft_policy(small.scan(), UNTIL, exempts_secrets=exempts_secrets)).removeprefix("---\n")
    assert isinstance(read_policy(text.encode()), Policy)
    report = small.scan(text.partition("kind: TokenPolicy\n")[2])
    assert small.scan().summary.workloads.denied > 0
    assert (report.summary.workloads.denied, report.exit_status) == (0, 0)
    assert report.summary.secrets.denied == (0 if exempts_secrets else 2)
    assert report.policy.mode is Mode.ENFORCE


def test_draft_exempts_the_accounts_of_what_would_be_denied():
    report = small_cluster().scan()
    document = draft_policy(report, UNTIL)
    assert "overrides" not in document
    assert [exemption["rules"] for exemption in document["exemptions"]] == [["legacy-token-reference"]] * 2
    assert draft_policy(report, UNTIL, exempts_secrets=True)["exemptions"] == [
        {
            "rules": rules,
            "namespaces": ["shop"],
            "serviceAccounts": accounts,
            "reason": "draft of 2026-11-24",
            "until": UNTIL,
        }
        for rules, accounts in (
            (["legacy-token-reference", "legacy-token-secret"], ["app"]),
            (["legacy-token-secret"], ["robot"]),
            (["legacy-token-reference"], ["robot", "web"]),
        )
    ]
    covering = small_cluster().scan(document_text(draft_policy(report, UNTIL, exempts_secrets=True)))
    assert exempt_objects(covering) == {0: ["Pod/reads-0", "Secret/old"], 1: ["Secret/other"], 2: ["Deployment/web"]}


def test_draft_exempts_the_most_powerful_accounts_first():
    accounts = {"a": [], "b": ["secrets"], "c": ["*"]}
    small = Small(*(secret(name, account=name) for name in accounts))
    for name, resources in accounts.items():
        small.pod(name, spec(container=named_secret(name), serviceAccountName=name))
        small.pod(f"fine-{name}", live())
        verbs = {"apiGroups": ["*"], "resources": resources, "verbs": ["*"]}
        small.snapshot.permissions.add_role(role(name, verbs))
        subject = {"kind": "ServiceAccount", "name": name, "namespace": "shop"}
        small.snapshot.permissions.add_binding(binding(subject, to=f"ClusterRole/{name}", name=name))
    report = small.scan()
    exemptions = draft_policy(report, UNTIL)["exemptions"]
    assert [exemption["serviceAccounts"] for exemption in exemptions] == [["c"], ["b"], ["a"]]
    grants = account_grants(report)
    assert [*exempt_grants("shop", ("a", "b"), grants)] == ["b", "a"]
    assert exempt_grants("shop", (), grants) == {"": (Grant(Permission.EVERYTHING, ()),)}


def test_draft_lets_a_namespace_that_is_mostly_denied_warn():
    small = Small(secret("old"))
    for number in range(4):
        small.pod(f"reads-{number}", spec(container=named_secret("old")))
    for number in range(3):
        small.pod(f"fine-{number}", live())
    document = draft_policy(small.scan(), UNTIL)
    assert document["overrides"] == [{"namespaces": ["shop"], "rules": {"legacy-token-reference": "warn"}}]
    assert "exemptions" not in document
    assert "overrides" not in draft_policy(small.pod("fine-3", live()).scan(), UNTIL), "half of them are not most"


def test_draft_allows_the_audiences_in_use():
    small = small_cluster(pods=2).pod("other", spec([token(audience="other")]))
    report = small.scan()
    assert titles(audiences_in_use(report)) == {VAULT: ["Pod/vault-0", "Pod/vault-1"], "other": ["Pod/other"]}
    assert draft_policy(report, UNTIL)["tokens"] == {"audiences": {"allowed": [VAULT, "other"]}}


ASSUMED_ONE, REAL_ONE = "https://kubernetes.default.svc.cluster.local", "https://kubernetes.default.svc"


@pytest.mark.parametrize("by_namespace", [False, True])
def test_draft_does_not_depend_on_assumed_api_audiences(by_namespace):
    small = Small().deployment("web", spec([token(audience=ASSUMED_ONE)]))
    report = small.scan()
    assert report.policy.api_audiences.source is AudienceSource.ASSUMED
    text = document_text(draft_policy(report, UNTIL, audiences_by_namespace=by_namespace))
    small.snapshot.given_audiences = (REAL_ONE,)
    assert small.scan(text).exit_status == 0
    assert small.scan(f"tokens: {{audiences: {{allowed: ['{VAULT}']}}}}\n").exit_status == 1


@pytest.mark.parametrize("source", ["token_audiences", "given_audiences"])
def test_draft_does_not_depend_on_how_api_audiences_are_known(source):
    small = with_audiences(("a", "https://oidc.example.com/id/1"), ("a", "own"))
    setattr(small.snapshot, source, (REAL_ONE, "https://oidc.example.com/id/1"))
    text = document_text(draft_policy(small.scan(), UNTIL))
    setattr(small.snapshot, source, ())
    assert small.scan(text).exit_status == 0


def with_audiences(*uses: tuple[str, str]) -> Small:
    small = Small()
    for number, (namespace, audience) in enumerate(uses):
        small.pod(f"p{number}", spec([token(audience=audience)]), namespace=namespace)
    return small


def test_draft_allows_an_audience_of_one_namespace_only_there():
    small = with_audiences(("a", "own"), ("a", "shared"), ("b", "shared"), ("c", "other"))
    draft = draft_policy(small.scan(), UNTIL, audiences_by_namespace=True)
    assert draft["tokens"] == {"audiences": {"allowed": ["shared"]}}
    assert draft["overrides"] == [
        {"namespaces": [name], "tokens": {"audiences": {"allowed": ["shared", audience]}}}
        for name, audience in (("a", "own"), ("c", "other"))
    ]
    text = write_document(draft).partition("kind: TokenPolicy\n")[2]
    assert small.scan(text).exit_status == 0
    assert small.pod("new", spec([token(audience="own")]), namespace="b").scan(text).exit_status == 1


def test_draft_of_audiences_of_single_namespaces_allows_no_other():
    draft = draft_policy(with_audiences(("a", "own")).scan(), UNTIL, audiences_by_namespace=True)
    text = write_document(draft).partition("kind: TokenPolicy\n")[2]
    assert with_audiences(("a", "own")).scan(text).exit_status == 0
    assert with_audiences(("b", "own")).scan(text).exit_status == 1
    assert with_audiences(("a", "any")).scan(text).exit_status == 1
    assert "tokens" not in draft_policy(Small().scan(), UNTIL, audiences_by_namespace=True)


def test_draft_of_a_lenient_namespace_also_allows_its_audiences():
    small = Small(secret("old")).pod("vault", spec([token(audience=VAULT)]))
    for number in range(4):
        small.pod(f"reads-{number}", spec(container=named_secret("old")))
    [override] = draft_policy(small.scan(), UNTIL, audiences_by_namespace=True)["overrides"]
    assert override == {
        "namespaces": ["shop"],
        "rules": {"legacy-token-reference": "warn"},
        "tokens": {"audiences": {"allowed": [VAULT]}},
    }


ACCOUNTS, NAMESPACES = ["a", "b", "c"], ["one", "two"]


@st.composite
def clusters(draw):
    tokens = zip("wxyz", [*ACCOUNTS, ""], strict=True)
    namespaces = st.sampled_from(NAMESPACES)
    small = Small(*(secret(name, account=account, namespace=draw(namespaces)) for name, account in tokens))
    volumes = st.sampled_from([[], *([token(audience=name)] for name in (VAULT, "*", "a: b # c", ASSUMED_ONE))])
    for number in range(draw(st.integers(0, 10))):
        container = draw(st.one_of(st.none(), st.sampled_from("wxyz").map(named_secret)))
        account = draw(st.sampled_from(ACCOUNTS))
        small.pod(f"p{number}", spec(draw(volumes), container, serviceAccountName=account), namespace=draw(namespaces))
    return small


@settings(max_examples=200, deadline=None)
@given(clusters(), st.booleans(), st.booleans())
def test_draft_of_any_cluster_is_sound(small, exempts_secrets, by_namespace):
    before = small.scan(document_text(base_document(allowed_audiences(small.scan()))))
    draft = draft_policy(before, UNTIL, exempts_secrets=exempts_secrets, audiences_by_namespace=by_namespace)
    policy = read_policy(write_document(draft).encode())
    assert isinstance(policy, Policy), policy
    assert [*ineffective(policy, NOW)] == []
    report = small.scan(document_text(draft))
    assert report.exit_status == 0
    assert {usage.status for usage in report.exemptions} <= {ExemptionStatus.IN_USE}
    assert not exempts_secrets or report.summary.secrets.denied == 0
    for first, later in itertools.combinations(draft.get("exemptions", ()), 2):
        if first["namespaces"] == later["namespaces"] and set(first["rules"]) & set(later["rules"]):
            assert "serviceAccounts" in later
            assert not set(first.get("serviceAccounts", ())) <= set(later["serviceAccounts"])


LONG = ["a", "long-" * 12 + "name", "very-" * 22 + "long-name"]


@st.composite
def clusters_with_long_names(draw):
    names = st.sampled_from(LONG)
    secrets = {(namespace, name): draw(names) for namespace in LONG for name in LONG}
    small = Small(*(secret(name, account=account, namespace=where) for (where, name), account in secrets.items()))
    for account in LONG:
        resources = draw(st.lists(st.sampled_from(["secrets", "pods", "configmaps", "*", *LONG]), max_size=5))
        verbs = draw(st.sampled_from(["get", "create", "*"]))
        rule = {"apiGroups": [draw(st.sampled_from(["", "*", *LONG]))], "resources": resources, "verbs": [verbs]}
        small.snapshot.permissions.add_role(role(account, rule))
        for namespace in LONG:
            subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
            where = {"namespace": draw(names)} if draw(st.booleans()) else {}
            bound = binding(subject, to=f"ClusterRole/{account}", name=account, **where)
            small.snapshot.permissions.add_binding(bound)
    for number in range(draw(st.integers(0, 30))):
        audience = draw(st.sampled_from([VAULT, "*", "two words " * 15, *LONG]))
        container = draw(st.one_of(st.none(), names.map(named_secret)))
        made = spec([token(audience=audience)], container, serviceAccountName=draw(names))
        small.pod(f"{draw(names)}-{number}", made, namespace=draw(names))
    return small


@settings(max_examples=100, deadline=None)
@given(clusters_with_long_names(), st.booleans(), st.booleans())
def test_comments_of_any_draft_fit_120_columns(small, exempts_secrets, by_namespace):
    before = small.scan(document_text(base_document(allowed_audiences(small.scan()))))
    draft = draft_policy(before, UNTIL, exempts_secrets=exempts_secrets, audiences_by_namespace=by_namespace)
    policy = read_policy(write_document(draft).encode())
    assert isinstance(policy, Policy), policy
    lines = [*draft_lines(draft, before, small.scan(document_text(draft)), policy)]
    wide = [line for line in lines if len(line) > 120 and len(line.partition("# ")[2].split()) > 1]
    assert wide == []
    written = [line.partition("  # ")[0] for line in lines if not line.lstrip().startswith("#")]
    assert "\n".join(written) == write_document(draft).removeprefix("---\n").rstrip("\n")


def with_mode(draft, mode, **namespaces):
    """Return a draft in a mode, and in those of namespaces, as docs/rollout.md says."""
    overrides = [dict(override) for override in draft.get("overrides", ())]
    for namespace, own_mode in namespaces.items():
        entry = next((override for override in overrides if override["namespaces"] == [namespace]), None)
        if entry is None:
            overrides.append(entry := {"namespaces": [namespace]})
        entry["mode"] = own_mode
    return draft | {"mode": mode} | ({"overrides": overrides} if overrides else {})


@settings(max_examples=100, deadline=None)
@given(clusters(), st.booleans())
def test_draft_enforced_by_namespace_denies_nothing(small, by_namespace):
    before = small.scan(document_text(base_document(allowed_audiences(small.scan()))))
    draft = draft_policy(before, UNTIL, audiences_by_namespace=by_namespace)
    steps = [with_mode(draft, "audit"), with_mode(draft, "audit", one="warn"), with_mode(draft, "audit", one="enforce")]
    steps += [with_mode(draft, "enforce", two="warn"), draft]
    for document, following in itertools.pairwise(steps):
        assert isinstance(policy := read_policy(write_document(following).encode()), Policy), policy
        assert [*ineffective(policy, NOW)] == []
        report = small.scan(document_text(document), document_text(following))
        assert (report.exit_status, report.summary.simulated_workloads.denied) == (0, 0)
    enforced = {workload.name: outcomes(workload) for workload in small.scan(document_text(draft)).workloads}
    first = small.scan(document_text(steps[2])).workloads
    assert {each.name: outcomes(each) for each in first if each.namespace == "one"}.items() <= enforced.items()
    assert {each.outcome for each in first if each.namespace == "two"} <= {Outcome.ALLOWED}


def outcomes(workload):
    return [group.evaluation.result.findings for group in workload.groups]


def test_draft_exempts_one_account_only_together_with_another():
    small = Small(secret("old", account="b"))
    for account in "ab":
        small.pod(f"as-{account}", spec(container=named_secret("old"), serviceAccountName=account))
    [exemption] = exemptions_of(small)
    assert exemption["serviceAccounts"] == ["a", "b"]
    small.pod("vault", spec([token()], serviceAccountName="b"))
    by_accounts = [(drafted["serviceAccounts"], drafted["rules"]) for drafted in exemptions_of(small)]
    assert by_accounts == [(["a", "b"], ["legacy-token-reference"]), (["b"], ["token-audience"])]


def exemptions_of(small):
    return draft_policy(small.scan(), UNTIL)["exemptions"]


def test_draft_denies_no_token_request():
    policy = read_policy(write_document(draft_policy(with_audiences(("a", "own")).scan(), UNTIL)).encode())
    actions = {rule: action for rule, action in policy.rules.items() if rule.startswith("token-request-")}
    assert "reject" not in actions.values()


def document_text(document):
    return write_document(document).partition("kind: TokenPolicy\n")[2]


def test_draft_of_a_clean_cluster_is_the_default_policy():
    document = draft_policy(Small().pod("a", live()).scan(), UNTIL)
    assert document == {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", "mode": "enforce", "rules": UNSEEN}


def test_draft_allows_the_audience_of_a_template_without_pods():
    small = Small().deployment("nightly", spec([token(audience="minio")]))
    report = small.scan()
    assert titles(audiences_in_use(report)) == {"minio": ["Deployment/nightly"]}
    assert draft_policy(report, UNTIL)["tokens"] == {"audiences": {"allowed": ["minio"]}}


def test_secrets_not_in_use_get_no_exemption_and_are_not_denied():
    unused, invalid = secret("unused", account="robot"), secret("gone", account="robot", invalid_since="2026-11-01")
    small = Small(secret("old"), unused, invalid).pod("reads", spec(container=named_secret("old")))
    draft = draft_policy(small.scan(), UNTIL, exempts_secrets=True)
    assert "robot" not in str(draft)
    report = small.scan(write_document(draft).partition("kind: TokenPolicy\n")[2])
    assert (report.summary.secrets.total, report.exit_status) == (1, 0)


def test_what_a_draft_still_denies_in_use_is_named():
    report = small_cluster().scan()
    assert [workload.title for workload in denied_workloads(report)] == ["Deployment/web", "Pod/reads-0"]
    assert [secret.name for secret in denied_secrets(report)] == ["old", "other"]
    assert denied_secrets(Small(secret("unused"), secret("gone", invalid_since="2026-11-01")).scan(ENFORCED)) == []


def titles(uses):
    return {audience: [workload.title for workload in workloads] for audience, workloads in uses.items()}
