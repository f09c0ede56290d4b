"""Warnings about the pod templates of an object: those that are not evaluated, and those that are missing."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from webhook.check.input_files import InputProblem
from webhook.check.report import ManifestEvaluation
from webhook.check.source_map import SourceMap
from webhook.core.admission_request import AdmissionRequest
from webhook.core.custom_workloads import GroupKind
from webhook.core.documents.yaml_writer import write_flow
from webhook.core.json_patch import escape, json_path
from webhook.core.k8s_types import AnyWorkload, Pod
from webhook.core.kinds import KINDS
from webhook.core.manifests import Manifest
from webhook.core.policy.model import Policy
from webhook.core.policy.schema import TEMPLATE_POINTER

_KUBERNETES = frozenset({"admission.k8s.io", "extensions", *(group for group, _ in KINDS)})
"""API groups of Kubernetes itself: their kinds have one pod template or none."""
_MAX_PATHS = 3
_NO_TEMPLATES = ("metadata", "status")
"""Fields of an object whose values create no pods."""
_CONTAINER_LISTS = ("containers", "initContainers")
_PATTERN = re.compile(r"[*?!]|\{\{")
"""What makes a container's name or image a pattern or an expression, as in the policies of Kyverno."""


def missing_containers(evaluation: ManifestEvaluation, request: AdmissionRequest) -> Iterator[InputProblem]:
    """Yield a warning if a pod or workload of Kubernetes itself has no containers: the first field that it lacks."""
    obj, manifest = request.object, evaluation.manifest
    if manifest.group not in _KUBERNETES or not isinstance(obj, Pod | AnyWorkload):
        return
    if (obj if isinstance(obj, Pod) else obj.template).spec.containers:
        return
    pointer = ""
    value: Any = msgspec.json.decode(manifest.raw)
    for key in f"{request.template_pointer}/spec/containers".split("/")[1:]:
        value, pointer = value.get(key), f"{pointer}/{key}"
        if not value:
            break
    message = f"{evaluation.title}: has no {json_path(pointer)}; the API server refuses such an object"
    yield evaluation.problem(f"{message}; add it, or, of a patch, check the patched object")


def unevaluated_templates(
    evaluation: ManifestEvaluation, evaluated: str, policy: Policy, source_of: Callable[[Manifest], SourceMap]
) -> Iterator[InputProblem]:
    """Yield a warning about the pod templates of an object of a custom kind that no rule was applied to.

    `evaluated` is the JSON Pointer of the template that rules were applied to; empty if there is none.
    """
    manifest = evaluation.manifest
    if manifest.group in _KUBERNETES or b'ontainers":' not in manifest.raw:
        return
    pointers = [pointer for pointer in _pod_templates(msgspec.json.decode(manifest.raw)) if pointer != evaluated]
    if not pointers:
        return
    paths = [json_path(pointer) for pointer in pointers]
    what = f"pod template {paths[0]} is not evaluated"
    if len(paths) > 1:
        more = len(paths) - _MAX_PATHS
        last = f" and {more} more" if more > 0 else f" and {paths.pop()}"
        what = f"pod templates {', '.join(paths[:_MAX_PATHS])}{last} are not evaluated"
    advice = _advice(manifest.group_kind, pointers, policy, is_any_evaluated=bool(evaluated))
    yield evaluation.problem_at(pointers[0], f"{evaluation.title}: {what}; {advice}", source_of(manifest))


def _advice(kind: GroupKind, pointers: list[str], policy: Policy, *, is_any_evaluated: bool) -> str:
    """Return what to do about templates: a policy can name one that is outside of lists."""
    nameable = [pointer for pointer in pointers if TEMPLATE_POINTER.fullmatch(pointer)]
    others = "them, copy them into PodTemplates" if len(pointers) > 1 else "it, copy it into a PodTemplate"
    advice = ""
    if nameable and not is_any_evaluated:
        group, name = kind
        entry = write_flow({"apiGroup": group, "kind": name, "template": nameable[0]})
        verb = "replace the entry in" if kind in policy.workloads else "add to"
        advice = f"{verb} the policy's workloads: {entry}"
        if len(pointers) == 1:
            return advice
        advice, others = f"{advice}; ", "the others, copy them into PodTemplates"
    return f"{advice}a policy can name one template of a kind, outside of lists; to check {others}"


def _pod_templates(obj: dict[str, Any]) -> Iterator[str]:
    """Yield the JSON Pointers of the pod templates below an object, in its order."""
    pending: list[tuple[str, Any]] = [
        (f"/{escape(key)}", value) for key, value in reversed(obj.items()) if key not in _NO_TEMPLATES
    ]
    while pending:
        pointer, value = pending.pop()
        if isinstance(value, dict):
            if _is_pod(value):
                yield pointer
            below = [(escape(key), child) for key, child in value.items()]
        else:
            below = [(str(number), child) for number, child in enumerate(value)] if isinstance(value, list) else []
        pending += ((f"{pointer}/{key}", child) for key, child in reversed(below) if isinstance(child, dict | list))


def _is_pod(value: dict[str, Any]) -> bool:
    """Return whether a value has the form of a pod or a part of one, such as ECK's `podTemplate` without an image."""
    spec = value.get("spec")
    lists = [spec.get(key) for key in _CONTAINER_LISTS] if isinstance(spec, dict) else []
    return any(isinstance(each, list) and each and all(map(_is_container, each)) for each in lists)


def _is_container(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    texts = [text for key in ("name", "image") if isinstance(text := value.get(key), str)]
    return bool(texts) and not any(map(_PATTERN.search, texts))
