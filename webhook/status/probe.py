"""The self-probe: pods that the API server is asked to admit by dry run, and what each answer proves.

One pod violates rules whose default is to reject, the other has tokens that live too long, which are capped by default.
`evaluate` itself says what the policy in force does with them, so the expectation holds under every policy. Nothing is
ever created: the requests are dry runs, and no image of that name exists.

A dry run shows a denial by its message, and a patch by its warning: warnings of mutating webhooks are part of the
answer even if a quota refuses the pod after them (seen on 1.36.2).
"""

import datetime as dt
import json
import re
from typing import Any, NamedTuple

from msgspec.structs import replace

from webhook.core.admission_request import manifest_request
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import Outcome
from webhook.core.dry_run import DryRunAnswer
from webhook.core.evaluate import evaluate
from webhook.core.formatting import FastStrEnum
from webhook.core.lifetimes import MAGIC_EXPIRATION
from webhook.core.pod_context import API_TOKEN_PATH
from webhook.core.policy.model import Policy, TokenLimits

PROBE_NAMESPACE = "tokenguard-probe"
"""The namespace in the manifests, in every installation: nothing can run in it."""
_UNKNOWN = "tokenguard-probe.invalid"
_LONGEST = 1 << 32
_FAILED_CALL = re.compile(r'failed calling webhook "[a-z.-]+\.tokenguard\.svc"')
_DENIAL = re.compile(r'admission webhook "[a-z.-]+\.tokenguard\.svc" denied the request')
_QUOTA = re.compile(r"exceeded quota|status unknown for quota|failed quota|insufficient quota")
_RBAC = re.compile(r'is forbidden: User ".*" cannot create resource')


class ProbePod(FastStrEnum):
    """A pod of the probe: a label value."""

    DENY = "deny"
    PATCH = "patch"


class ProbeResult(FastStrEnum):
    """What an answer says: a label value.

    `success`: it is the one that the policy in force demands. `not_enforced`: it is another one. `unreachable`: the API
    server cannot call tokenguard. `error`: it says nothing about tokenguard.
    """

    SUCCESS = "success"
    NOT_ENFORCED = "not_enforced"
    UNREACHABLE = "unreachable"
    ERROR = "error"


class Expectation(NamedTuple):
    """What the policy does with a pod, and the warnings that its author gets."""

    outcome: Outcome
    warnings: tuple[str, ...]

    @property
    def is_visible(self) -> bool:
        """Whether an answer can show that the policy was applied: not in mode `audit`, for example."""
        return self.outcome is Outcome.DENIED or bool(self.warnings)


class ProbeFinding(NamedTuple):
    """What the answer about one pod proves; `reason` is empty for a success that is visible."""

    pod: ProbePod
    result: ProbeResult
    reason: str = ""


def probe_pod(pod: ProbePod, namespace: str, tokens: TokenLimits) -> dict[str, Any]:
    """Return the manifest of a pod of the probe. It complies with the Pod Security Standard `restricted`."""
    if pod is ProbePod.DENY:
        sources = {
            "/probe/unnamed": {},
            "/probe/unknown": {"audience": _UNKNOWN, "expirationSeconds": 600},
        }
        annotations = {"tokenguard/inject": _UNKNOWN}
    else:
        sources = {
            API_TOKEN_PATH: {"expirationSeconds": MAGIC_EXPIRATION},
            "/probe/long": {"audience": _allowed_audience(tokens), "expirationSeconds": _LONGEST},
        }
        annotations = {}
    return _manifest(f"tokenguard-probe-{pod}", namespace, annotations, sources)


def expect(
    manifest: dict[str, Any], policy: Policy, cluster: ClusterState, now: dt.datetime, user: str = ""
) -> Expectation:
    """Return what the policy does at the time `now` (aware) with a pod that `user` creates."""
    meta = manifest["metadata"]
    raw = json.dumps(manifest).encode()
    request = manifest_request(("", "Pod"), raw, namespace=meta["namespace"], workloads=policy.workloads)
    decision = evaluate(replace(request, user=user), policy, cluster, now)
    return Expectation(decision.outcome, () if decision.outcome is Outcome.DENIED else decision.warnings())


def check_answer(pod: ProbePod, expectation: Expectation, answer: DryRunAnswer) -> ProbeFinding:
    """Return what an answer proves."""
    message = answer.message
    if _FAILED_CALL.search(message):
        return ProbeFinding(pod, ProbeResult.UNREACHABLE, message)
    is_denied = bool(_DENIAL.search(message))
    if not (is_denied or 200 <= answer.status < 300 or _QUOTA.search(message)):
        refused = "" if answer.status == 0 or _RBAC.search(message) else "refused, but not by tokenguard: "
        return ProbeFinding(pod, ProbeResult.ERROR, f"{refused}{message}")
    error = _enforcement_error(expectation, answer, is_denied=is_denied)
    if error:
        return ProbeFinding(pod, ProbeResult.NOT_ENFORCED, error)
    note = "" if expectation.is_visible else "nothing to prove: the policy neither denies, patches nor warns"
    return ProbeFinding(pod, ProbeResult.SUCCESS, note)


def _enforcement_error(expectation: Expectation, answer: DryRunAnswer, *, is_denied: bool) -> str:
    """Return why an answer is not the one that the policy demands; empty if it is."""
    must_be_denied = expectation.outcome is Outcome.DENIED
    if must_be_denied != is_denied:
        return "was not denied" if must_be_denied else f"was denied: {answer.message}"
    if all(any(text.startswith(warning) for text in answer.warnings) for warning in expectation.warnings):
        return ""
    return "was not patched" if expectation.outcome is Outcome.PATCHED else "got no warning"


def is_unlocked(answer: DryRunAnswer) -> bool:
    """Return whether nothing in the namespace would have kept the pod from being created, if it were no dry run."""
    return 200 <= answer.status < 300


def _allowed_audience(tokens: TokenLimits) -> str:
    """Return an audience that the policy allows, if it allows any."""
    patterns = tokens.audiences.allowed.patterns
    return patterns[0].replace("*", "probe") if patterns else _UNKNOWN


def _manifest(
    name: str, namespace: str, annotations: dict[str, str], sources: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return a pod with a projected token at each mount path."""
    container = {
        "name": "probe",
        "image": f"{_UNKNOWN}/none",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
        "volumeMounts": [{"name": f"token-{number}", "mountPath": path} for number, path in enumerate(sources)],
    }
    volumes = [
        {"name": f"token-{number}", "projected": {"sources": [{"serviceAccountToken": {"path": "token", **source}}]}}
        for number, source in enumerate(sources.values())
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": volumes,
        },
    }
