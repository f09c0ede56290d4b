"""Custom kinds that create pods: where their pod templates are, and how these are read.

A template is found by a JSON Pointer through maps. Nothing beside it is decoded, as for all objects that rules read.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from webhook.core.json_patch import unescape
from webhook.core.k8s_types import CustomWorkload, Object, ObjectWithMeta, Pod

GroupKind = tuple[str, str]
"""API group and kind."""
Pointers = tuple[str, ...]
"""Where a kind's pod template may be; an object has at most one of them."""

_TEMPLATE = ("/spec/template",)
_KRUISE = "apps.kruise.io"

WELL_KNOWN: Mapping[GroupKind, Pointers] = {
    ("", "DeploymentConfig"): _TEMPLATE,  # OpenShift 3
    ("", "PodTemplate"): ("/template",),
    ("actions.github.com", "AutoscalingRunnerSet"): _TEMPLATE,
    ("apps.openshift.io", "DeploymentConfig"): _TEMPLATE,
    (_KRUISE, "AdvancedCronJob"): (
        "/spec/template/jobTemplate/spec/template",
        "/spec/template/broadcastJobTemplate/spec/template",
    ),
    (_KRUISE, "BroadcastJob"): _TEMPLATE,
    (_KRUISE, "CloneSet"): _TEMPLATE,
    (_KRUISE, "DaemonSet"): _TEMPLATE,
    (_KRUISE, "StatefulSet"): _TEMPLATE,
    (_KRUISE, "UnitedDeployment"): (
        "/spec/template/statefulSetTemplate/spec/template",
        "/spec/template/advancedStatefulSetTemplate/spec/template",
        "/spec/template/cloneSetTemplate/spec/template",
        "/spec/template/deploymentTemplate/spec/template",
    ),
    ("argoproj.io", "Rollout"): _TEMPLATE,
    ("extensions", "DaemonSet"): _TEMPLATE,  # no longer served since Kubernetes 1.16, but still found in files
    ("extensions", "Deployment"): _TEMPLATE,
    ("extensions", "ReplicaSet"): _TEMPLATE,
    ("keda.sh", "ScaledJob"): ("/spec/jobTargetRef/template",),
    ("serving.knative.dev", "Configuration"): _TEMPLATE,
    ("serving.knative.dev", "Service"): _TEMPLATE,
}
"""The kinds that no policy has to name: of Kubernetes itself, but not sent to the webhook, and of well-known projects.

A policy's `workloads` take precedence, so that a kind added here never invalidates a policy.
"""


def read_custom_workload(
    raw: bytes | msgspec.Raw, pointers: Pointers, template_type: type[Pod] = Pod
) -> CustomWorkload:
    """Return the object with the first of its pod templates that exists, decoded as `template_type`.

    Raises `msgspec.DecodeError` if the object or its template has another form.
    """
    obj = ObjectWithMeta()
    for pointer in pointers:
        decoder, depth = _decoder(pointer, template_type)
        obj = value = decoder.decode(raw)
        for _ in range(depth):
            value = value and value.below
        if value is not None:
            return CustomWorkload(obj.metadata, pointer, value)
    return CustomWorkload(obj.metadata, " or ".join(pointers))


@lru_cache(maxsize=256)
def _decoder(pointer: str, template_type: type[Pod]) -> tuple[msgspec.json.Decoder[Any], int]:
    """Return a decoder of objects down to what a pointer names, and how many levels below the object that is."""
    tokens = [unescape(token) for token in pointer.split("/")[1:]]
    kind: type[Object] = template_type
    for number, token in enumerate(reversed(tokens), 1):
        base = ObjectWithMeta if number == len(tokens) else Object
        field = ("below", kind | None, msgspec.field(default=None, name=token))
        kind = msgspec.defstruct("Level", [field], bases=(base,), frozen=True, gc=False)  # type: ignore[assignment]
    return msgspec.json.Decoder(kind), len(tokens)
