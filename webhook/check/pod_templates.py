"""The pod templates of custom kinds, found by their form, and a warning if an object has none."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from webhook.check.input_files import InputProblem
from webhook.check.report import ManifestEvaluation
from webhook.core.admission_request import AdmissionRequest, template_request
from webhook.core.decision import Decision, Outcome
from webhook.core.json_patch import escape, json_path
from webhook.core.k8s_types import AnyWorkload, Pod
from webhook.core.kinds import KINDS
from webhook.core.manifests import Manifest

_KUBERNETES = frozenset({"admission.k8s.io", "apiextensions.k8s.io", "extensions", *(group for group, _ in KINDS)})
"""API groups of Kubernetes itself: their kinds have one pod template or none."""
_PROCESSED = "template.openshift.io"
"""The API group of a kind whose objects are evaluated after it was processed."""
_NO_TEMPLATES = ("metadata", "status")
"""Fields of an object whose values create no pods."""
_CONTAINER_LISTS = ("containers", "initContainers")
_PATTERN = re.compile(r"[*?!]|\{\{")
"""What makes a container's name or image a pattern or an expression, as in the policies of Kyverno."""


def is_custom(manifest: Manifest) -> bool:
    """Return whether the kind of an object is not one of Kubernetes itself."""
    return manifest.group not in _KUBERNETES


def missing_containers(evaluation: ManifestEvaluation, request: AdmissionRequest) -> Iterator[InputProblem]:
    """Yield a warning if a pod or workload of Kubernetes itself has no containers: the first field that it lacks."""
    obj, manifest = request.object, evaluation.manifest
    if is_custom(manifest) or not isinstance(obj, Pod | AnyWorkload):
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
    yield evaluation.problem(f"{message}; add it; if it is a patch, check the patched object")


def found_templates(manifest: Manifest, request: AdmissionRequest, namespace: str) -> Iterator[AdmissionRequest]:
    """Yield a request for each pod template in an object of a custom kind that `request` is not about.

    A template is recognised by its form, wherever it is. If it cannot be read, the request has a problem. There is none
    if `request` itself cannot be read.
    """
    if request.problem or manifest.group in {*_KUBERNETES, _PROCESSED} or b'ontainers":' not in manifest.raw:
        return
    for pointer, value in _pod_templates(msgspec.json.decode(manifest.raw)):
        if pointer != request.template_pointer:
            yield template_request(manifest.kind, msgspec.json.encode(value), pointer, namespace=namespace)


def combined(decisions: Sequence[Decision]) -> Decision:
    """Return the decision about an object with so many pod templates: all findings, and the most severe outcome."""
    first, *others = decisions
    if not others:
        return first
    outcomes = [*Outcome]
    unreadable = next((each for each in decisions if each.problem), first)
    return msgspec.structs.replace(
        unreadable,
        outcome=max((each.outcome for each in decisions), key=outcomes.index),
        findings=tuple(finding for each in decisions for finding in each.findings),
        patch=tuple(operation for each in decisions for operation in each.patch),
        exempted=tuple(pair for each in decisions for pair in each.exempted),
    )


def _pod_templates(obj: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the JSON Pointers and the values of the pod templates below an object, in its order."""
    pending: list[tuple[str, Any]] = [
        (f"/{escape(key)}", value) for key, value in reversed(obj.items()) if key not in _NO_TEMPLATES
    ]
    while pending:
        pointer, value = pending.pop()
        if isinstance(value, dict):
            if _is_pod(value):
                yield pointer, value
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
