"""Workloads that make pods: their authors are warned of what the pods will meet, once, and nothing is refused."""

import datetime as dt
import json

import pytest

from tests.reviews import review
from webhook.core.admission_request import Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import MAX_LINES, Decision
from webhook.core.evaluate import evaluate
from webhook.core.policy.loader import read_policy
from webhook.core.rules import RULES

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
CLUSTER = ClusterState(legacy_tokens={"demo": {"app-token": "app"}})
LONGEST_PASSED_ON = 256
"""Characters of a warning, past which the API server may cut it."""
WORKLOADS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "ReplicaSet": "apps/v1",
    "ReplicationController": "v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
}
READS_LEGACY = {"containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "app-token"}}]}]}
STRICT = {rule.name: str(rule.actions[1 if str(rule.actions[0]) == "patch" and rule.name != "inject" else 0])
          for rule in RULES}  # fmt: skip


def workload(kind, spec, **meta):
    template = {"template": {"metadata": {"labels": {"app": "x"}}, "spec": spec}}
    whole = {"jobTemplate": {"spec": template}} if kind == "CronJob" else template
    return {"apiVersion": WORKLOADS[kind], "kind": kind, "metadata": {"name": "x", **meta}, "spec": whole}


def decided(manifest, phase=Phase.VALIDATE, policy=None, **fields) -> Decision:
    document = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", **(policy or {})}
    read = read_policy(json.dumps(document).encode())
    return evaluate(read_review(review(manifest, **fields), phase), read, CLUSTER, NOW)


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
@pytest.mark.parametrize("kind", WORKLOADS)
def test_workload_is_warned_about_the_findings_of_its_pods(kind, operation) -> None:
    decision = decided(workload(kind, READS_LEGACY), operation=operation)
    at = "spec.jobTemplate.spec.template" if kind == "CronJob" else "spec.template"
    assert decision.outcome == "warned"
    [warning] = decision.warnings()
    assert warning.startswith(f"legacy-token-reference: {at}.spec.containers[0].envFrom[0] reads the long-lived token")
    assert decided(workload(kind, READS_LEGACY), Phase.MUTATE, operation=operation).patch == ()


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({}, "; its pods will be denied; mount"),
        ({"mode": "warn"}, "; would be denied"),
        ({"rules": {"legacy-token-reference": "warn"}}, '"app-token"; mount'),
    ],
    ids=["enforce", "mode warn", "action warn"],
)
def test_warning_says_what_happens_to_the_pods(policy, says) -> None:
    [warning] = decided(workload("Deployment", READS_LEGACY), policy=policy).warnings()
    assert says in warning


@pytest.mark.parametrize("kind", WORKLOADS)
def test_workload_is_never_denied_and_warnings_are_short(kind) -> None:
    volume = {"projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 86400}}]}}
    spec = {
        "containers": [
            {"name": f"c{number}", "envFrom": [{"secretRef": {"name": "app-token"}}],
             "volumeMounts": [{"name": "t", "mountPath": "/t", "subPath": "token"}]}
            for number in range(20)
        ],
        "volumes": [{"name": "t", **volume}, {"name": "h", "hostPath": {"path": "/"}}],
    }  # fmt: skip
    policy = {"rules": STRICT, "tokens": {"maxExpirationSeconds": 600, "audiences": {"allowed": ["nobody"]}}}
    decision = decided(workload(kind, spec), policy=policy)
    assert decision.outcome == "warned"
    *warnings, last = decision.warnings()
    assert (len(warnings), last) == (MAX_LINES, "and 34 more")
    assert {line.partition(":")[0] for line in warnings} == {
        "legacy-token-reference", "token-expiration", "token-audience", "token-subpath", "kubelet-hostpath",
        "api-token-automount",
    }  # fmt: skip
    assert all(len(line) <= LONGEST_PASSED_ON for line in warnings)


OWNERS = {
    "a Deployment": ("ReplicaSet", "apps/v1", "Deployment", True, "allowed"),
    "a CronJob": ("Job", "batch/v1", "CronJob", True, "allowed"),
    "a custom kind": ("ReplicaSet", "argoproj.io/v1alpha1", "Rollout", True, "warned"),
    "a custom kind of a known name": ("ReplicaSet", "example.com/v1", "Deployment", True, "warned"),
    "OpenShift's": ("ReplicationController", "apps.openshift.io/v1", "DeploymentConfig", True, "warned"),
    "one that doesn't control it": ("ReplicaSet", "apps/v1", "Deployment", False, "warned"),
    "a kind that makes no pods": ("Job", "v1", "ConfigMap", True, "warned"),
    "a version that is missing": ("ReplicaSet", None, "Deployment", True, "warned"),
}


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
@pytest.mark.parametrize("owned", OWNERS.values(), ids=OWNERS)
def test_owned_workload_is_not_warned_about_again(owned, operation) -> None:
    kind, version, owner, controls, outcome = owned
    reference = {"apiVersion": version, "kind": owner, "name": "x", "uid": "u", "controller": controls}
    manifest = workload(kind, READS_LEGACY, ownerReferences=[reference])
    assert decided(manifest, operation=operation).outcome == outcome


def test_check_evaluates_an_owned_workload() -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "u", "controller": True}
    assert decided(workload("ReplicaSet", READS_LEGACY, ownerReferences=[reference]), Phase.CHECK).outcome == "denied"
