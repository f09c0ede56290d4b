"""The reviews that a real API server sent, and how the server's test policy decides each.

The bodies of both phases hold the object as it was sent: in `/validate` a pod that nothing was injected into, and
whose API token is not capped, so it is denied: the mutating webhook didn't run. `finally_` is the decision of
`/validate` on the pod that `/mutate` has patched.
"""

from dataclasses import dataclass
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded"


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
