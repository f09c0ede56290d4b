"""The reviews that a real API server sent, through the real HTTPS server.

The recorded bodies of both phases hold the object as it was sent: in `/validate` a pod that nothing was injected
into, and whose API token is not capped, so it is denied: the mutating webhook didn't run. `finally_` is what
`/validate` says of the pod that `/mutate` has patched.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import jsonpatch
import pytest

from tests.serving import patch_of

RECORDED = Path(__file__).parent.parent / "recorded"


@dataclass(frozen=True)
class Expected:
    """A decision and its rules for each phase, as `decision: rule,rule`."""

    mutate: str
    validate: str
    finally_: str


LEFT_ALONE = Expected("allowed", "allowed", "allowed")


def pod(*rules: str, finally_: str = "allowed", patched: str = "token-expiration,inject") -> Expected:
    return Expected(f"patched: {patched}", f"denied: {','.join(rules)}", finally_)


def in_validate(decision: str) -> Expected:
    return Expected("allowed", decision, decision)


PLAIN = pod("token-expiration", "inject")
LEGACY = pod("legacy-token-reference", "token-expiration", "inject", finally_="denied: legacy-token-reference")

EXPECTED = {
    "configmap-other.configmaps": LEFT_ALONE,
    "pod-csi-and-ephemeral-volumes.pods": PLAIN,
    "pod-dry-run.pods": LEGACY,
    "pod-generate-name.pods": PLAIN,
    "pod-hostpath-kubelet.pods": pod(
        "token-expiration", "kubelet-hostpath", "inject", finally_="warned: kubelet-hostpath"
    ),
    "pod-large.pods": PLAIN,
    "pod-legacy-env.pods": LEGACY,
    "pod-legacy-envfrom.pods": LEGACY,
    "pod-legacy-other-account.pods": LEGACY,
    "pod-legacy-projected.pods": LEGACY,
    "pod-legacy-volume-default-path.pods": pod(
        "legacy-token-reference", "inject", patched="inject", finally_="denied: legacy-token-reference"
    ),
    "pod-legacy-volume.pods": LEGACY,
    "pod-long-expiration.pods": PLAIN,
    "pod-mirror.pods": LEFT_ALONE,
    "pod-no-audience.pods": pod("token-audience", "inject", patched="inject", finally_="denied: token-audience"),
    "pod-no-automount.pods": pod("inject", patched="inject"),
    "pod-opaque-secret.pods": PLAIN,
    "pod-plain.pods": PLAIN,
    "pod-seed-secure.pods": PLAIN,
    "pod-server-side-apply.pods": PLAIN,
    "pod-sidecar.pods": PLAIN,
    "pod-subpath.pods": pod("token-expiration", "token-subpath", "inject", finally_="warned: token-subpath"),
    "pod-two-tokens-one-volume.pods": pod(
        "token-expiration", "token-audience", "inject", finally_="denied: token-audience"
    ),
    "pod-unicode.pods": PLAIN,
    "pod-update-image.pods": LEFT_ALONE,
    "pod-windows.pods": PLAIN,
    "pod-zz-ephemeral-container-legacy-env.pods-ephemeralcontainers": in_validate("denied: legacy-token-reference"),
    "pod-zz-ephemeral-container.pods-ephemeralcontainers": LEFT_ALONE,
    "policy-mistakes.configmaps": in_validate("denied: invalid-policy"),
    "policy-sound.configmaps": LEFT_ALONE,
    "secret-legacy.secrets": in_validate("denied: legacy-token-secret"),
    "secret-opaque.secrets": LEFT_ALONE,
    "serviceaccount.serviceaccounts": in_validate("warned: legacy-token-reference"),
    "token-audience.serviceaccounts-token": in_validate("denied: token-request-expiration,token-request-binding"),
    "token-bound-to-pod.serviceaccounts-token": LEFT_ALONE,
    "token-default.serviceaccounts-token": in_validate("allowed: token-request-binding"),
    "token-kubelet.serviceaccounts-token": LEFT_ALONE,
    "token-long.serviceaccounts-token": in_validate("denied: token-request-expiration,token-request-binding"),
    "workload-cronjob-legacy.cronjobs": in_validate("warned: legacy-token-reference"),
    "workload-daemonset.daemonsets": LEFT_ALONE,
    "workload-daemonset.pods": PLAIN,
    "workload-deployment-seed.deployments": LEFT_ALONE,
    "workload-deployment-seed.pods": PLAIN,
    "workload-deployment-seed.replicasets": LEFT_ALONE,
    "workload-job.jobs": LEFT_ALONE,
    "workload-job.pods": PLAIN,
    "workload-statefulset-legacy.pods": LEGACY,
    "workload-statefulset-legacy.statefulsets": in_validate("warned: legacy-token-reference"),
}


def recorded(case: str, phase: str) -> bytes:
    name, resource = case.rsplit(".", 1)
    return (RECORDED / f"{name}.{phase}.{resource}.json").read_bytes()


def decided(response) -> str:
    annotations = response["auditAnnotations"]
    return f"{annotations['decision']}: {annotations.get('rules', '')}".removesuffix(": ")


def patched(body: bytes, response) -> bytes:
    review = json.loads(body)
    review["request"]["object"] = jsonpatch.apply_patch(review["request"]["object"], patch_of(response))
    return json.dumps(review).encode()


def test_the_table_names_every_recorded_review():
    files = {f"{name}.{resource}" for name, _, resource, _ in (one.name.split(".") for one in RECORDED.iterdir())}
    assert files == set(EXPECTED)


@pytest.mark.parametrize("case", EXPECTED)
def test_mutate_decides_as_the_table_says(server, case):
    response = server.review("/mutate?timeout=10s", recorded(case, "mutate"))
    assert decided(response) == EXPECTED[case].mutate
    assert response["allowed"] is True
    assert bool(patch_of(response)) is EXPECTED[case].mutate.startswith("patched")


@pytest.mark.parametrize("case", EXPECTED)
def test_validate_decides_as_the_table_says_and_never_patches(server, case):
    body = recorded(case, "validate")
    response = server.review("/validate?timeout=10s", body)
    assert decided(response) == EXPECTED[case].validate
    assert response["allowed"] is not EXPECTED[case].validate.startswith("denied")
    assert response["uid"] == json.loads(body)["request"]["uid"]
    assert "patch" not in response


@pytest.mark.parametrize("case", EXPECTED)
def test_what_mutate_has_patched_is_patched_no_more_and_then_judged_for_good(server, case):
    body = recorded(case, "mutate")
    once = patched(body, server.review("/mutate", body))
    assert patch_of(server.review("/mutate", once)) == []
    assert decided(server.review("/validate", once)) == EXPECTED[case].finally_


def test_a_denial_says_what_is_wrong_and_by_which_id_it_is_found(server):
    response = server.review("/validate", recorded("secret-legacy.secrets", "validate"))
    assert response["status"]["code"] == 403
    assert response["status"]["reason"] == "Forbidden"
    assert response["status"]["message"].startswith("legacy-token-secret: type ")
    assert response["status"]["message"].endswith(
        f"\n[tokenguard {response['uid'][:8]}: see 'tokenguard rules legacy-token-secret']"
    )
