"""For any pod: the patch applies, a second pass adds nothing, nothing patchable is left, and nothing else changes."""

import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import assume, given, settings

from tests.core.strategies import CLUSTER, HEAD, NOW, admitted, policies
from tests.fuzz.patch_checks import assert_patch_is_sound
from tests.reviews import review
from webhook.core.admission_request import Phase, read_review
from webhook.core.evaluate import evaluate
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Action, Policy
from webhook.core.rules import RULES


def decide(pod: dict[str, Any], policy: Policy, phase: Phase):
    return evaluate(read_review(review(pod), phase), policy, CLUSTER, NOW)


@settings(max_examples=400)
@given(admitted, policies())
@pytest.mark.covers("failure-modes: any patch")
def test_any_pod_is_patched_completely_at_once(pod: dict[str, Any], policy: Policy) -> None:
    assert_patch_is_sound(pod, lambda changed, phase: decide(changed, policy, phase))


@settings(max_examples=200)
@given(admitted, policies())
@pytest.mark.covers("failure-modes: any patch")
def test_check_predicts_the_decision_of_the_webhook(pod: dict[str, Any], policy: Policy) -> None:
    assume(not has_unmounted_api_token(pod))  # the ServiceAccount plugin would have mounted it
    mutated = decide(pod, policy, Phase.MUTATE)
    final = jsonpatch.apply_patch(pod, list(mutated.patch))
    denied = decide(final, policy, Phase.VALIDATE).outcome == "denied"
    checked = decide(pod, policy, Phase.CHECK)
    if has_api_token(pod) or policy.rules["api-token-automount"] not in (Action.REJECT, Action.PATCH):
        assert (checked.outcome == "denied") == denied
        assert checked.patch == mutated.patch


def has_unmounted_api_token(pod: dict[str, Any]) -> bool:
    spec = pod["spec"]
    every = [*spec["containers"], *spec.get("initContainers", [])]
    mounted = {mount["name"] for container in every for mount in container.get("volumeMounts") or []}
    names = {volume["name"] for volume in spec.get("volumes") or []}
    return any(name.startswith("kube-api-access") for name in names - mounted)


def has_api_token(pod: dict[str, Any]) -> bool:
    return any(volume["name"].startswith("kube-api-access-x7k2p") for volume in pod["spec"].get("volumes") or [])


@pytest.mark.parametrize(
    "manifest",
    [
        {"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "v1", "kind": "Pod", "metadata": None, "spec": None},
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": None}},
        {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {}}}},
    ],
    ids=["no spec", "null spec", "no template", "no job"],
)
@pytest.mark.parametrize("phase", list(Phase))
def test_pod_without_containers_is_left_to_the_api_server(manifest, phase) -> None:
    actions = {rule.name: str(rule.actions[0]) for rule in RULES}
    inject = [{"name": "vault", "audience": "vault", "mountPath": "/v"}]
    policy = read_policy(json.dumps({**HEAD, "rules": actions, "inject": inject}).encode())
    decision = evaluate(read_review(review(manifest), phase), policy, CLUSTER, NOW)
    assert (decision.patch, decision.findings, decision.problem) == ((), (), "")
