"""Custom kinds that create pods: well-known ones and those of the policy's `workloads`."""

import datetime as dt
import json

import jsonpatch
import pytest

from tests.reviews import review
from webhook.core.admission_request import Phase, manifest_request, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.custom_workloads import WELL_KNOWN
from webhook.core.decision import Coverage, Decision
from webhook.core.evaluate import evaluate
from webhook.core.kinds import KINDS
from webhook.core.policy.loader import read_policy

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
CLUSTER = ClusterState(legacy_tokens={"demo": {"app-token": "app"}})
READS_LEGACY = {"spec": {"containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "app-token"}}]}]}}
LONG_TOKEN = {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 86400}}
LONG = {"spec": {"volumes": [{"name": "t", "projected": {"sources": [LONG_TOKEN]}}]}}
RUNNER = [{"apiGroup": "example.com", "kind": "Runner", "template": "/spec/pods~1of/template"}]
PLACES = [(kind, pointer) for kind, pointers in WELL_KNOWN.items() for pointer in pointers]


def custom(kind, pointer, template) -> dict:
    """Return an object of a kind with a template at a pointer."""
    for token in reversed(pointer.split("/")[1:]):
        template = {token.replace("~1", "/").replace("~0", "~"): template}
    return {"apiVersion": f"{kind[0]}/v1".removeprefix("/"), "kind": kind[1], "metadata": {"name": "x"}, **template}


def policy_with(workloads=(), **keys):
    document = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", "workloads": list(workloads), **keys}
    return read_policy(json.dumps(document).encode())


def checked(kind, obj, workloads=(), namespace="demo") -> Decision:
    policy = policy_with(workloads)
    request = manifest_request(kind, json.dumps(obj).encode(), namespace=namespace, workloads=policy.workloads)
    return evaluate(request, policy, CLUSTER, NOW)


@pytest.mark.parametrize(("kind", "pointer"), PLACES, ids=lambda value: "/".join(value).strip("/"))
def test_template_of_well_known_kind_is_evaluated(kind, pointer) -> None:
    [finding] = checked(kind, custom(kind, pointer, READS_LEGACY)).findings
    assert (finding.rule, finding.action) == ("legacy-token-reference", "reject")
    assert finding.violation.pointer == f"{pointer}/spec/containers/0/envFrom/0"


@pytest.mark.parametrize(("kind", "pointer"), PLACES, ids=lambda value: "/".join(value).strip("/"))
def test_template_of_well_known_kind_is_patched_in_place(kind, pointer) -> None:
    obj = custom(kind, pointer, LONG)
    patched = jsonpatch.apply_patch(obj, list(checked(kind, obj).patch))
    assert patched == json.loads(json.dumps(obj).replace("86400", "3600"))


@pytest.mark.parametrize("pulls", ["registry", ["registry"], {"name": "registry"}, [{"name": 1}]], ids=str)
@pytest.mark.parametrize("kind", [("argoproj.io", "Rollout"), ("apps", "Deployment")], ids=lambda kind: kind[1])
def test_template_is_readable_whatever_its_pull_secrets_are(kind, pulls) -> None:
    template = {"spec": {**READS_LEGACY["spec"], "imagePullSecrets": pulls}}
    [finding] = checked(kind, custom(kind, "/spec/template", template)).findings
    assert finding.rule == "legacy-token-reference"


def test_kind_of_policy_is_evaluated_and_without_policy_not() -> None:
    runner = custom(("example.com", "Runner"), RUNNER[0]["template"], READS_LEGACY)
    decision = checked(("example.com", "Runner"), runner, RUNNER)
    assert decision.findings[0].path == "spec[pods/of].template.spec.containers[0].envFrom[0]"
    assert decision.outcome == "denied"
    assert checked(("example.com", "Runner"), runner).coverage is Coverage.NOT_EVALUATED


def test_policy_takes_precedence_over_well_known_kind() -> None:
    moved = [{"apiGroup": "argoproj.io", "kind": "Rollout", "template": "/spec/podTemplate"}]
    rollout = custom(("argoproj.io", "Rollout"), "/spec/podTemplate", READS_LEGACY)
    assert checked(("argoproj.io", "Rollout"), rollout, moved).outcome == "denied"


WITHOUT = {
    "a workloadRef": {"spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}},
    "no spec": {},
    "null": {"spec": {"template": None}},
}


@pytest.mark.parametrize("content", WITHOUT.values(), ids=WITHOUT)
def test_rollout_without_template_is_not_evaluated(content) -> None:
    decision = checked(("argoproj.io", "Rollout"), {"metadata": {"name": "web"}, **content})
    assert (decision.outcome, decision.coverage) == ("allowed", Coverage.NOT_EVALUATED)
    assert decision.note == "it has no pod template at /spec/template"


def test_kind_with_several_places_without_template_names_all() -> None:
    note = checked(("apps.kruise.io", "AdvancedCronJob"), {"spec": {}}).note
    assert note.endswith("/jobTemplate/spec/template or /spec/template/broadcastJobTemplate/spec/template")


def test_template_of_another_form_is_unreadable() -> None:
    decision = checked(("argoproj.io", "Rollout"), {"spec": {"template": {"spec": {"volumes": 3}}}})
    assert (decision.outcome, decision.coverage) == ("warned", Coverage.EVALUATED)
    assert "spec.template.spec.volumes must be a list" in decision.problem


COVERAGE = {
    "a pod": (("", "Pod"), "demo", Coverage.EVALUATED),
    "a pod in kube-system": (("", "Pod"), "kube-system", Coverage.EXCLUDED),
    "a custom kind in kube-system": (("argoproj.io", "Rollout"), "kube-system", Coverage.EXCLUDED),
    "a pod in tokenguard": (("", "Pod"), "tokenguard", Coverage.EXCLUDED),
    "a Secret in tokenguard": (("", "Secret"), "tokenguard", Coverage.EVALUATED),
    "a ConfigMap": (("", "ConfigMap"), "demo", Coverage.NOT_EVALUATED),
    "a kind that nobody knows": (("example.com", "Runner"), "demo", Coverage.NOT_EVALUATED),
}


@pytest.mark.parametrize(("kind", "namespace", "expected"), COVERAGE.values(), ids=COVERAGE)
def test_decision_says_whether_rules_were_applied(kind, namespace, expected) -> None:
    assert checked(kind, {"metadata": {"name": "x"}}, namespace=namespace).coverage is expected


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_review_of_custom_kind_is_only_warned_about(operation) -> None:
    policy = policy_with(RUNNER)
    runner = custom(("example.com", "Runner"), RUNNER[0]["template"], READS_LEGACY)
    body = review(runner, operation=operation)
    decision = evaluate(read_review(body, Phase.VALIDATE, policy.workloads), policy, CLUSTER, NOW)
    assert (decision.outcome, len(decision.warnings())) == ("warned", 1)
    assert evaluate(read_review(body, Phase.MUTATE, policy.workloads), policy, CLUSTER, NOW).patch == ()


def test_well_known_kinds_are_no_kinds_of_the_webhook() -> None:
    assert not WELL_KNOWN.keys() & KINDS.keys()
