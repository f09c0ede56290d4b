"""Warnings about values that the API server refuses: too short lifetimes, and legacy Secrets without an account."""

from collections.abc import Callable, Iterator

from webhook.check.input_files import InputProblem
from webhook.check.report import ManifestEvaluation
from webhook.check.source_map import SourceMap
from webhook.core.admission_request import AdmissionRequest
from webhook.core.json_patch import json_path
from webhook.core.k8s_types import AnyWorkload, Pod
from webhook.core.lifetimes import MIN_EXPIRATION
from webhook.core.manifests import Manifest
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, Secret


def refused_values(
    evaluation: ManifestEvaluation, request: AdmissionRequest, source_of: Callable[[Manifest], SourceMap]
) -> Iterator[InputProblem]:
    """Yield a warning about each such lifetime in a pod or template, or about the annotation that a Secret lacks."""
    obj = request.object
    if isinstance(obj, Secret) and obj.is_legacy and not obj.account:
        what = f"{evaluation.title}: the annotation {LEGACY_TOKEN_ACCOUNT}, which names the ServiceAccount, is missing"
        message = f"{what}; the API server refuses such a Secret"
        yield evaluation.problem_at("/metadata", message, source_of(evaluation.manifest))
    pod = obj.template if isinstance(obj, AnyWorkload) else obj
    for pointer, seconds in _lifetimes(pod) if isinstance(pod, Pod) else ():
        if seconds < MIN_EXPIRATION:
            place = f"{request.template_pointer}{pointer}"
            what = f"{evaluation.title}: {json_path(place)} is {seconds}, which the API server refuses"
            message = f"{what}; set it to {MIN_EXPIRATION} or more"
            yield evaluation.problem_at(place, message, source_of(evaluation.manifest), show_value=True)


def _lifetimes(pod: Pod) -> Iterator[tuple[str, int]]:
    """Yield the lifetime of each projected token of a pod that names one, with its JSON Pointer."""
    for number, volume in enumerate(pod.spec.volumes or ()):
        for index, source in enumerate((volume.projected and volume.projected.sources) or ()):
            token = source.service_account_token
            if token and token.expiration_seconds is not None:
                yield (
                    f"/spec/volumes/{number}/projected/sources/{index}/serviceAccountToken/expirationSeconds",
                    token.expiration_seconds,
                )
