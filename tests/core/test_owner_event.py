"""Events on the owners of pods: about rejections and exemptions, and nothing else."""

import datetime as dt
import json

import pytest

from tests.reviews import review
from webhook.core.admission_request import Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.evaluate import evaluate
from webhook.core.owner_event import build_owner_event
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-1", "uid": "u1", "controller": True}
EXEMPT = "exemptions: [{rules: ['*'], namespaces: [demo], reason: fixed in May, until: 2027-05-31}]"


def owner_event(policy="", *, owners=(OWNER,), phase=Phase.VALIDATE, path="/", dry_run=False):
    parsed = read_policy(
        f"apiVersion: tokenguard/v1\nkind: TokenPolicy\nrules: {{kubelet-hostpath: reject}}\n{policy}".encode()
    )
    assert isinstance(parsed, Policy)
    spec = {"containers": [{"name": "app"}], "volumes": [{"name": "root", "hostPath": {"path": path}}]}
    body = json.loads(review({"kind": "Pod", "metadata": {"ownerReferences": [*owners]}, "spec": spec}))
    body["request"]["dryRun"] = dry_run
    request = read_review(json.dumps(body).encode(), phase)
    return build_owner_event(request, evaluate(request, parsed, ClusterState(), dt.datetime(2027, 1, 1, tzinfo=dt.UTC)))


def test_denied_pod_creates_an_event_with_the_decision_id() -> None:
    event = owner_event()
    assert (event.namespace, event.owner.name, event.owner.uid) == ("demo", "app-1", "u1")
    assert (event.reason, event.rules) == ("PodRejected", "kubelet-hostpath")
    assert event.message.startswith('kubelet-hostpath: spec.volumes[0].hostPath is "/"')
    assert "[tokenguard 7ceb3af7: " in event.message


def test_exempted_pod_creates_an_event_with_reason_and_end() -> None:
    event = owner_event(EXEMPT)
    assert (event.reason, event.rules) == ("PodExempted", "kubelet-hostpath")
    assert event.message == (
        "a pod is exempt from kubelet-hostpath: fixed in May (until 2027-05-31)\n[tokenguard 7ceb3af7]"
    )
    assert owner_event(EXEMPT, phase=Phase.MUTATE) is None


@pytest.mark.parametrize(
    "other",
    [
        {"owners": ()},
        {"owners": ({**OWNER, "controller": False},)},
        {"owners": ({**OWNER, "name": "a" * 254},)},
        {"owners": ({**OWNER, "name": "../../kube-system"},)},
        {"owners": ({**OWNER, "name": None},)},
        {"owners": ({**OWNER, "kind": "K" * 64},)},
        {"owners": ({**OWNER, "apiVersion": "apps/v1?x"},)},
        {"owners": ({**OWNER, "uid": "u" * 129},)},
        {"path": "/srv"},
        {"dry_run": True},
        {"policy": "mode: warn"},
    ],
    ids=[
        "no owner",
        "no controller",
        "long name",
        "name with a path",
        "no name",
        "long kind",
        "API version with a query",
        "long uid",
        "nothing wrong",
        "dry run",
        "warned",
    ],
)
@pytest.mark.covers("threat-model: invalid names in reviews")
def test_other_decisions_create_no_event(other) -> None:
    assert owner_event(**other) is None
