"""Errors and warnings about objects that no rule is applied to: misspelt kinds, Templates, invalid policies."""

from collections.abc import Mapping

import msgspec

from webhook.core.formatting import did_you_mean, quote
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
_APPS = frozenset({"DaemonSet", "Deployment", "ReplicaSet"})
_REMOVED: Mapping[str, frozenset[str]] = {
    "apps/v1beta1": frozenset({"ControllerRevision", "Deployment", "StatefulSet"}),
    "apps/v1beta2": _KNOWN["apps"],
    "batch/v1beta1": frozenset({"CronJob"}),
    "batch/v2alpha1": frozenset({"CronJob"}),
    "extensions/v1beta1": _APPS,
    "storage.k8s.io/v1beta1": frozenset({"CSIDriver"}),
}
"""Versions that no supported Kubernetes serves any more, and the kinds that they had."""
_PROCESSING = "oc process --local -f FILE | tokenguard check -"


def version_error(manifest: Manifest) -> str:
    """Return that Kubernetes never had the API version of a manifest; empty if it did, or if that is unknown."""
    version, kind = manifest.api_version, manifest.kind
    right = _right_version(manifest)
    if not (right or manifest.group or version == "v1"):
        return f"the core API has no version {quote(version)}; write v1, or GROUP/VERSION"
    if version == right or kind in _REMOVED.get(version, ()):
        return ""
    return f"{kind} has no API version {quote(version)}; use {right}" if right else ""


def version_warning(manifest: Manifest) -> str:
    """Return that the API version of a manifest has been removed; empty if it has not."""
    version = manifest.api_version
    if manifest.kind not in _REMOVED.get(version, ()):
        return ""
    return f"no supported Kubernetes serves {manifest.kind} in {version}; use {_right_version(manifest)}"


def _right_version(manifest: Manifest) -> str:
    """Return the API version that Kubernetes serves of a manifest's kind; empty if it is not known."""
    group, kind = manifest.group_kind
    is_moved = group == "extensions" and kind in _APPS
    if is_moved or (manifest.api_version != "v1" and not group and kind not in _KNOWN[""]):
        group = next((name for name, known in KINDS if known == kind), group)  # in extensions, or without its group
    if kind not in _KNOWN.get(group, ()) and (group, kind) not in KINDS:
        return ""
    return f"{group}/v1" if group else "v1"


def type_error(manifest: Manifest) -> tuple[str, str]:
    """Return which field of a manifest names an API version or a kind that does not exist, and why; empty if none."""
    if message := version_error(manifest) or group_error(manifest):
        return "/apiVersion", message
    message = kind_error(manifest)
    return ("/kind", message) if message else ("", "")


def group_error(manifest: Manifest) -> str:
    """Return that the API group of a manifest does not exist, but Kubernetes has its kind in another; empty if not so.

    The API group of a custom kind has a dot.
    """
    group, kind = manifest.group_kind
    hint = "" if group in {*_KNOWN, "extensions"} or "." in group else _in_other_group(group, kind)
    return f"{_group_title(group)} does not exist{hint.replace('it is', f'{kind} is')}" if hint else ""


def kind_error(manifest: Manifest) -> str:
    """Return that the API group of a manifest has no such kind, so its author means another one; empty if unknown."""
    group, kind = manifest.group_kind
    if group not in _KNOWN or kind in _KNOWN[group]:
        return ""
    hint = _in_other_group(group, kind) or did_you_mean(kind, sorted(_KNOWN[group]))
    return f"{_group_title(group)} has no kind {quote(kind)}{hint}"


def _in_other_group(group: str, kind: str) -> str:
    """Return where a kind is, whatever its capitals; empty if in no other API group."""
    known = [*KINDS, *((name, each) for name, kinds in _KNOWN.items() for each in kinds)]
    same = [(name, each) for name, each in known if each.lower() == kind.lower()]
    if not same or any(name == group for name, _ in same):
        return ""
    other, right = same[0]
    within = _group_title(other)
    return f"; it is in {within}" if right == kind else f"; did you mean {quote(right)} in {within}?"


def _group_title(group: str) -> str:
    return f"API group {group}" if group else "the core API (v1)"


def kind_warning(manifest: Manifest) -> str:
    """Return why a manifest that no rule applies to is suspicious; empty if it isn't."""
    group, kind = manifest.group_kind
    if (f"{group}/v1", kind) == (API_VERSION, KIND):
        return _policy_error(manifest)
    if (
        kind == "Template"
        and group in ("", "template.openshift.io")
        and msgspec.json.decode(manifest.raw).get("objects")
    ):
        return f"the objects of a Template are not evaluated; process it first: {_PROCESSING}"
    return ""


def _policy_error(manifest: Manifest) -> str:
    errors = read_policy(manifest.source.source()[0].encode())
    if isinstance(errors, Policy):
        return ""
    hint = "'tokenguard policy validate' shows all errors"
    return f"is not a valid policy: {': '.join(filter(None, (errors[0].path, errors[0].message)))}; {hint}"
