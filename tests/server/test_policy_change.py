"""A pod that is patched by one replica and validated by another one while they get a changed policy."""

import itertools
import json

import jsonpatch
import pytest

from tests.recorded_reviews import recorded
from tests.server.replica import Replica
from tests.serving import POLICY, patch_of
from webhook.core import policy_change
from webhook.core.admission_request import Phase
from webhook.core.policy.loader import read_policy
from webhook.server import review_handler

POLICIES = {
    "enforce": POLICY,
    "warn": POLICY + "mode: warn\n",
    "audit": POLICY + "mode: audit\n",
    "long lifetimes": POLICY + "rules: {token-expiration: warn}\n",
    "token removed": POLICY + "rules: {api-token-automount: patch}\n",
    "two injections": POLICY + "- {name: bank, audience: bank.example.com, mountPath: /var/run/bank}\n",
    "no injection": POLICY.partition("inject:")[0],
}
PODS = ("pod-plain.pods", "pod-long-expiration.pods")
PAIRS = list(itertools.permutations(POLICIES, 2))


def patched(replica: Replica, body: bytes) -> bytes:
    """Return the review that the API server sends to `/validate` after a replica has patched the pod."""
    review = json.loads(body)
    pod = review["request"]["object"]
    review["request"]["object"] = jsonpatch.apply_patch(pod, patch_of(replica.response(body, Phase.MUTATE)))
    return json.dumps(review).encode()


def changed(before: str, after: str) -> Replica:
    """Return a replica that has just got a policy."""
    replica = Replica(POLICIES[before])
    replica.state.use_policy(read_policy(POLICIES[after].encode()))
    return replica


@pytest.mark.covers("failure-modes: replicas with different policies")
@pytest.mark.parametrize(("before", "after"), PAIRS)
@pytest.mark.parametrize("pod", PODS)
def test_pod_is_admitted_whichever_replica_has_the_new_policy(before, after, pod):
    body = recorded(pod, "mutate")
    for patches, validates in itertools.product((Replica(POLICIES[before]), changed(before, after)), repeat=2):
        response = validates.response(patched(patches, body))
        assert response["allowed"] is True, response["status"]["message"]


@pytest.mark.parametrize("pod", PODS)
def test_unpatched_pod_is_denied_later(pod, monkeypatch):
    replica = changed("warn", "enforce")
    assert replica.response(recorded(pod, "mutate"))["allowed"] is True
    monkeypatch.setattr(review_handler, "DURATION", 0.0)
    assert replica.response(recorded(pod, "mutate"))["allowed"] is False


def test_pod_is_patched_as_before_for_a_shorter_time_only(monkeypatch):
    body = recorded("pod-plain.pods", "mutate")
    assert patch_of(changed("enforce", "audit").response(body, Phase.MUTATE)) != []
    monkeypatch.setattr(policy_change, "PATCH_DURATION", 0.0)
    assert patch_of(changed("enforce", "audit").response(body, Phase.MUTATE)) == []


def test_new_policy_denies_legacy_tokens_at_once():
    assert changed("warn", "enforce").response(recorded("pod-legacy-env.pods", "validate"))["allowed"] is False


@pytest.mark.parametrize(("before", "after"), [("warn", "enforce"), ("enforce", "token removed")])
def test_new_policy_patches_at_once(before, after):
    body = recorded("pod-plain.pods", "mutate")
    patch = patch_of(changed(before, after).response(body, Phase.MUTATE))
    assert patch == patch_of(Replica(POLICIES[after]).response(body, Phase.MUTATE)) != []


def test_each_answer_names_the_policy_that_it_follows():
    replica, before = changed("enforce", "warn"), Replica()
    body = recorded("pod-plain.pods", "mutate")
    for phase, same in ((Phase.MUTATE, True), (Phase.VALIDATE, False)):
        policies = [each.response(body, phase)["auditAnnotations"]["policy"] for each in (replica, before)]
        assert (policies[0] == policies[1]) is same
