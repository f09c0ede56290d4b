"""Errors and warnings about objects that no rule is applied to: misspelt kinds, unknown workloads, invalid policies."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from webhook.core.custom_workloads import WELL_KNOWN
from webhook.core.formatting import did_you_mean, quote
from webhook.core.json_patch import escape
from webhook.core.kinds import KINDS
from webhook.core.manifests import Manifest
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.schema import API_VERSION, KIND

_OPENSHIFT = frozenset({
    "Build", "BuildConfig", "DeploymentConfig", "Group", "Identity", "Image", "ImageStream", "ImageStreamTag",
    "OAuthClient", "Project", "ProjectRequest", "Role", "RoleBinding", "Route", "SecurityContextConstraints",
    "Template", "User",
})  # fmt: skip
"""The kinds that OpenShift 3 had in version `v1` and that are still in files."""
_KNOWN: Mapping[str, frozenset[str]] = {
    "": _OPENSHIFT | {
        "Binding", "ComponentStatus", "ConfigMap", "Endpoints", "Event", "LimitRange", "Namespace", "Node",
        "PersistentVolume", "PersistentVolumeClaim", "Pod", "PodTemplate", "ReplicationController", "ResourceQuota",
        "Secret", "Service", "ServiceAccount",
    },
    "apps": frozenset({"ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"}),
    "batch": frozenset({"CronJob", "Job"}),
}  # fmt: skip
"""The kinds of the API groups that Kubernetes' own workloads are in."""
_MAX_DEPTH = 8


def kind_error(manifest: Manifest) -> str:
    """Return that the API group of a manifest has no such kind, so its author means another one; empty if unknown."""
    group, kind = manifest.group_kind
    if group not in _KNOWN or kind in _KNOWN[group]:
        return ""
    others = [name for name, known in [*KINDS, *WELL_KNOWN] if known == kind and name in _KNOWN]
    hint = f"; it is in API group {others[0]}" if others and others[0] else did_you_mean(kind, sorted(_KNOWN[group]))
    named = f"API group {group}" if group else "the core API (v1)"
    return f"{named} has no kind {quote(kind)}{hint}"


def kind_warning(manifest: Manifest) -> str:
    """Return why a manifest that no rule applies to is suspicious; empty if it isn't."""
    group, kind = manifest.group_kind
    if (f"{group}/v1", kind) == (API_VERSION, KIND):
        return _policy_error(manifest)
    if group in _KNOWN or group.endswith(".k8s.io"):
        return ""
    pointer = next(_pod_templates(msgspec.json.decode(manifest.raw), "", 0), "")
    entry = f"{{apiGroup: {group}, kind: {kind}, template: {pointer}}}"
    return f"{kind} is not evaluated, but has a pod template; add to the policy's workloads: {entry}" if pointer else ""


def _policy_error(manifest: Manifest) -> str:
    errors = read_policy(manifest.source.source()[0].encode())
    if isinstance(errors, Policy):
        return ""
    hint = "'tokenguard policy validate' shows all errors"
    return f"is not a valid policy: {': '.join(filter(None, (errors[0].path, errors[0].message)))}; {hint}"


def _pod_templates(value: Any, pointer: str, depth: int) -> Iterator[str]:
    """Yield the JSON Pointers of the pod templates below an object, as a policy can name them: through maps."""
    if depth > _MAX_DEPTH or not isinstance(value, dict):
        return
    spec = value.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if pointer and isinstance(containers, list) and containers and all(map(_is_container, containers)):
        yield pointer
    for key, below in value.items():
        yield from _pod_templates(below, f"{pointer}/{escape(key)}", depth + 1)


def _is_container(value: Any) -> bool:
    return isinstance(value, dict) and "name" in value and "image" in value
