"""Running pods that the policy would deny as they are: which ones, and what that says about their admission."""

import datetime as dt

import pytest

from tests.scan.small_cluster import AT, INJECT, Small, api_token, live, mounts, named_secret, of, secret, spec
from webhook.core.webhook_namespaces import NAME_LABEL, Requirement, WebhookScope, WebhookScopes
from webhook.scan.evaluation_result import Admission
from webhook.scan.options import ScanFilters
from webhook.scan.pod_admission import AdmissionHistory
from webhook.scan.report import UnevaluatedPod

WEBHOOK = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
POLICY = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
HISTORY = AdmissionHistory(WEBHOOK, POLICY, is_known=True)
BEFORE, BETWEEN, AFTER = "2026-11-19T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z"
CAPPED = live(3600)
UNCAPPED = live()


def installed(*secrets) -> Small:
    small = Small(*secrets)
    small.snapshot.history = HISTORY
    return small


def unevaluated(
    *pods: dict, policy: str = "", created: str = AFTER, history: AdmissionHistory = HISTORY, secrets=(), **metadata
) -> list[UnevaluatedPod]:
    small = Small(*secrets)
    small.snapshot.history = history
    for number, pod in enumerate(pods):
        small.pod(f"pod-{number}", pod, creationTimestamp=created, uid=f"uid-{number}", **metadata)
    return list(small.scan(policy).unevaluated_pods)


def admissions(*pods: dict, **more) -> list[str]:
    return [pod.admission.value for pod in unevaluated(*pods, **more)]


@pytest.mark.parametrize(("created", "expected"), [
    (BEFORE, "before-installation"), (BETWEEN, "undetermined"), (AFTER, "not-evaluated"),
    pytest.param("2026-11-22T12:00:05Z", "undetermined", id="while the policy settles"),
])  # fmt: skip
def test_admission_follows_from_the_pods_age(created, expected) -> None:
    assert admissions(CAPPED, UNCAPPED, created=created) == [expected]


@pytest.mark.parametrize(("history", "expected"), [
    pytest.param(AdmissionHistory(WEBHOOK, None, is_known=True), "undetermined", id="policy from a file"),
    pytest.param(AdmissionHistory(None, POLICY, is_known=True), "not-evaluated", id="webhook deleted"),
])  # fmt: skip
def test_admission_needs_the_history(history, expected) -> None:
    assert admissions(UNCAPPED, history=history) == [expected]


@pytest.mark.parametrize(("history", "webhook_exists"), [
    pytest.param(AdmissionHistory(is_known=True), False, id="not installed"),
    pytest.param(AdmissionHistory(), None, id="not read"),
    pytest.param(AdmissionHistory(None, POLICY), None, id="only the policy read"),
])  # fmt: skip
def test_pods_are_not_listed_without_a_known_installation(history, webhook_exists) -> None:
    small = Small().pod("a", UNCAPPED, creationTimestamp=BEFORE)
    small.snapshot.history = history
    report = small.scan()
    assert (report.webhook_exists, report.unevaluated_pods) == (webhook_exists, ())


def test_hint_says_to_restore_a_deleted_webhook_configuration() -> None:
    [pod] = unevaluated(UNCAPPED, history=AdmissionHistory(None, POLICY, is_known=True))
    assert pod.hint.startswith("first create the webhook configuration again, see 'tokenguard status'; then delete it")


SCOPES = {
    "by name": WebhookScope((Requirement(NAME_LABEL, "NotIn", ("kube-system", "shop")),)),
    "by condition": WebhookScope(excluded=frozenset({"shop"})),
    "by label": WebhookScope((Requirement("opt-out", "DoesNotExist"),)),
    "not selected": WebhookScope((Requirement("guarded", "In", ("yes",)),)),
}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
@pytest.mark.parametrize("created", [BEFORE, AFTER])
def test_pod_in_an_excluded_namespace_is_excluded(scope, created) -> None:
    small = Small().pod("a", UNCAPPED, creationTimestamp=created)
    small.snapshot.namespaces["shop"] = frozenset({("opt-out", "")})
    small.snapshot.history = HISTORY._replace(scopes=WebhookScopes(scope))
    assert [pod.admission.value for pod in small.scan().unevaluated_pods] == ["excluded"]


@pytest.mark.parametrize("scope", [
    WebhookScope((Requirement(NAME_LABEL, "NotIn", ("kube-system",)), Requirement("opt-out", "DoesNotExist"))),
    WebhookScope((Requirement(NAME_LABEL, "In", ("shop",)), Requirement(NAME_LABEL, "Exists"))),
    WebhookScope((Requirement("guarded", "Unheard"),), frozenset({"other"})),
])  # fmt: skip
def test_pod_in_another_namespace_is_not_excluded(scope) -> None:
    assert admissions(UNCAPPED, history=HISTORY._replace(scopes=WebhookScopes(scope))) == ["not-evaluated"]


def test_pod_without_creation_time_is_undetermined() -> None:
    small = Small().pod("a", UNCAPPED)
    small.snapshot.history = HISTORY
    assert [pod.admission for pod in small.scan().unevaluated_pods] == [Admission.UNDETERMINED]


@pytest.mark.parametrize("policy", [
    "mode: warn\n", "mode: audit\n", 'rules: {token-expiration: "off"}\n', "apiServerToken: {expiration: keep}\n",
    "exemptions: [{rules: ['*'], namespaces: [shop], reason: r, until: never}]\n",
], ids=str.strip)  # fmt: skip
def test_pod_that_the_policy_admits_is_not_listed(policy) -> None:
    assert unevaluated(UNCAPPED, policy=policy) == []


@pytest.mark.parametrize(("until", "expected"), [("2026-11-23", []), ("2026-11-22", ["not-evaluated"])])
def test_exemptions_count_as_of_the_pods_creation(until, expected) -> None:
    exemption = f"exemptions: [{{rules: [token-expiration], namespaces: [shop], reason: r, until: {until}}}]\n"
    assert admissions(UNCAPPED, policy=exemption) == expected


@pytest.mark.parametrize(("rules", "namespace", "expected"), [
    ("token-expiration", "shop", "undetermined"), ("token-expiration", "other", "not-evaluated"),
    ("token-subpath", "shop", "not-evaluated"),
])  # fmt: skip
def test_exemption_by_user_leaves_it_undetermined(rules, namespace, expected) -> None:
    exemption = f"exemptions: [{{rules: [{rules}], namespaces: [{namespace}], users: [a], reason: r, until: never}}]\n"
    assert admissions(UNCAPPED, policy=exemption) == [expected]


@pytest.mark.parametrize(("created", "expected"), [
    ("2026-11-01T00:00:00Z", "not-evaluated"), ("2026-11-23T12:00:00Z", "undetermined"),
])  # fmt: skip
def test_secret_newer_than_the_pod_leaves_it_undetermined(created, expected) -> None:
    pod = spec([api_token(3600)], {**mounts(("kube-api-access-abcde", AT)), **named_secret("old")})
    assert admissions(pod, secrets=[secret("old", created)]) == [expected]


def test_pod_without_an_injected_token_is_listed() -> None:
    [pod] = unevaluated(CAPPED, policy=INJECT)
    assert [finding.rule for finding in pod.findings] == ["inject"]


def test_ephemeral_container_that_reads_a_legacy_token_is_listed() -> None:
    debugged = CAPPED | {"ephemeralContainers": [{"name": "debug", **named_secret("old")}]}
    [pod] = unevaluated(debugged, secrets=[secret("old")])
    assert [finding.path for finding in pod.findings] == ["spec.ephemeralContainers[0].env[0]"]


@pytest.mark.parametrize("left_alone", ["kube-system", "tokenguard"])
def test_pods_that_are_never_evaluated_are_not_listed(left_alone) -> None:
    assert unevaluated(UNCAPPED, namespace=left_alone) == []


def test_mirror_and_finished_pods_are_not_listed() -> None:
    node = {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "controller": True}]}
    mirror = {**node, "annotations": {"kubernetes.io/config.mirror": "x"}}
    small = installed().pod("mirror", UNCAPPED, **mirror).pod("done", UNCAPPED, phase="Succeeded")
    assert small.scan().unevaluated_pods == ()


@pytest.mark.parametrize(("owner", "pod", "hint"), [
    pytest.param({}, UNCAPPED, "delete it and create it again: kubectl delete pod web-1-a -n shop", id="bare"),
    pytest.param(of("ReplicaSet", "web-1"), UNCAPPED, "kubectl rollout restart deployment/web -n shop", id="owned"),
    pytest.param(of("Runner", "r", "example.com"), UNCAPPED, "kubectl delete pod web-1-a -n shop", id="custom"),
    pytest.param({}, UNCAPPED | spec(container=named_secret("old")),
        "first correct it, as it would be denied by legacy-token-reference; then delete it and create it again: "
        "kubectl delete pod web-1-a -n shop", id="bare and denied again"),
])  # fmt: skip
def test_hint_says_how_to_recreate_the_pod(owner, pod, hint) -> None:
    small = installed(secret("old")).deployment("web", CAPPED).pod("web-1-a", pod, **owner)
    [listed] = small.scan().unevaluated_pods
    assert listed.hint == hint


def test_hint_names_the_owner_whose_next_pod_would_be_denied() -> None:
    reads = spec(container=named_secret("old"))
    small = installed(secret("old")).deployment("web", reads).pod("web-1-a", reads, **of("ReplicaSet", "web-1"))
    [pod] = small.scan().unevaluated_pods
    assert pod.owner == "Deployment/web"
    first = "first correct Deployment/web, whose next pod would be denied by legacy-token-reference; "
    assert pod.hint == f"{first}then kubectl rollout restart deployment/web -n shop"


def test_filters_select_by_the_findings() -> None:
    small = installed().pod("a", UNCAPPED)
    assert small.scan(filters=ScanFilters(rules=("token-expiration",))).unevaluated_pods
    assert not small.scan(filters=ScanFilters(rules=("token-subpath",))).unevaluated_pods


def test_hint_contains_no_name_that_a_shell_would_run() -> None:
    [pod] = installed().pod("a; rm -rf", UNCAPPED).scan().unevaluated_pods
    assert pod.hint == "delete it and create it again: kubectl delete pod NAME -n shop"
