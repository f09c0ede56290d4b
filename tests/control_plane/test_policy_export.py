"""Exported policies on a real API server: the same verdicts as `evaluate`, from CEL alone.

`make equality` also compares the patches of the golden cases, and a thousand generated policies.
"""

import os

import pytest

from tests.control_plane import export_cases
from tests.control_plane.exported import Case, Tally, compare, serves_mutating_policies
from tests.control_plane.plane import own_plane
from tests.policies import HEAD
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy

POLICIES = int(os.environ.get("EQUALITY_POLICIES", "0"))
IN_FULL = pytest.mark.skipif(not POLICIES, reason="needs EQUALITY_POLICIES, see 'make equality'")
EACH_VARIANT = pytest.mark.parametrize("patched", [False, True], ids=["vap", "vap+map"])
PODS_FOR_EACH = 4


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with own_plane(tmp_path_factory.mktemp("export-plane")) as running:
        yield running


@pytest.fixture(scope="module")
def patching_plane(plane):
    if not serves_mutating_policies(plane):
        pytest.skip("needs MutatingAdmissionPolicies of admissionregistration.k8s.io/v1: Kubernetes 1.36")
    return plane


def plane_for(request, *, patched: bool):
    return request.getfixturevalue("patching_plane" if patched else "plane")


def assert_equal(plane, cases, *, patched: bool, at_least: int, batch: int = 40) -> None:
    tally = Tally()
    compare(plane, cases, patched=patched, tally=tally, batch=batch)
    print(f"\n{'vap+map' if patched else 'vap'}: {tally}")  # noqa: T201 - the result
    assert not tally.differences, "\n".join(tally.differences[:10])
    assert tally.verdicts >= at_least


def test_golden_cases_get_the_same_verdicts(plane) -> None:
    assert_equal(plane, export_cases.golden(), patched=False, at_least=800)


@EACH_VARIANT
def test_recorded_objects_get_the_same_verdicts(request, patched) -> None:
    assert_equal(plane_for(request, patched=patched), export_cases.recorded(), patched=patched, at_least=150)


@EACH_VARIANT
def test_generated_cases_get_the_same_verdicts(request, patched) -> None:
    cases = export_cases.generated(8, PODS_FOR_EACH, patched=patched)
    assert_equal(plane_for(request, patched=patched), cases, patched=patched, at_least=200)


@IN_FULL
def test_golden_cases_get_the_same_patches(patching_plane) -> None:
    assert_equal(patching_plane, export_cases.golden(), patched=True, at_least=800)


@IN_FULL
@EACH_VARIANT
def test_a_thousand_generated_policies_get_the_same_verdicts(request, patched) -> None:
    cases = export_cases.generated(POLICIES // 2, PODS_FOR_EACH, patched=patched)
    assert_equal(plane_for(request, patched=patched), cases, patched=patched, at_least=POLICIES * 10)


_NAMESPACES = ", ".join(f"'team-{number:05}-*'" for number in range(5500))
_AUDIENCES = ", ".join(f"'https://*.{number}.example.com'" for number in range(2500))
_OVERRIDES = "".join(
    f"- {{namespaces: ['team-{number}-*'], tokens: {{maxExpirationSeconds: {1000 + number}}}}}\n"
    for number in range(500)
)
LARGE = {
    "exemptions": f"exemptions: [{{rules: ['*'], namespaces: [{_NAMESPACES}], reason: large, until: 2099-01-01}}]\n",
    "audiences": f"tokens: {{audiences: {{allowed: [{_AUDIENCES}]}}}}\n",
    "overrides": f"overrides:\n{_OVERRIDES}",
}


@pytest.mark.parametrize("policy", LARGE.values(), ids=LARGE)
def test_largest_accepted_policy_stays_within_the_cost_limits(plane, policy) -> None:
    read = read_policy(f"{HEAD}{policy}".encode())
    assert isinstance(read, Policy)
    token = {"path": "token", "audience": f"https://{'a' * 200}.example.com", "expirationSeconds": 86400}
    volumes = [{"name": "t", "projected": {"sources": [{"serviceAccountToken": token}]}}]
    mounts = [{"name": "t", "mountPath": "/t"}]
    containers = [{"name": f"app-{number}", "image": "app", "volumeMounts": mounts} for number in range(50)]
    spec = {"containers": containers, "volumes": volumes}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": spec}
    tally = Tally()
    compare(plane, [Case("large", read, pod)], patched=False, tally=tally)
    assert not tally.differences, tally.differences
    assert tally.denied == 1
