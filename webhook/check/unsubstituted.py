"""Placeholders of envsubst, Flux or a template that have no value yet where one is needed."""

from collections.abc import Iterable, Iterator

from webhook.check.input_files import InputProblem
from webhook.check.report import ManifestEvaluation
from webhook.check.source_map import SourceMap
from webhook.core.decode_errors import text_at
from webhook.core.json_patch import json_path
from webhook.core.manifests import Manifest
from webhook.core.placeholders import placeholder_advice


def placeholder_at(manifest: Manifest, pointer: str) -> str:
    """Return that a field is a placeholder, and what to do; empty if it is none."""
    advice = placeholder_advice(text_at(manifest.raw, pointer))
    return f"{json_path(pointer)} is {advice}" if advice else ""


def audience_advice(manifest: Manifest, pointers: Iterable[str]) -> str:
    """Return what to do about an audience, at one of these places, that is a placeholder; empty if it is none."""
    advice = (placeholder_advice(text_at(manifest.raw, pointer)) for pointer in pointers)
    return next((f"this is {each}" for each in advice if each), "")


def namespace_placeholders(evaluations: Iterable[ManifestEvaluation]) -> Iterator[InputProblem]:
    """Yield a warning about the first object in each file that is evaluated in a namespace that is a placeholder."""
    warned: set[str] = set()
    for evaluation in evaluations:
        advice = placeholder_advice(evaluation.manifest.namespace)
        if not advice or not evaluation.is_evaluated or evaluation.file_path in warned:
            continue
        warned.add(evaluation.file_path)
        message = f"metadata.namespace is {advice}; until then, the policy for the real namespace is not applied"
        source = SourceMap(evaluation.manifest.source)
        yield evaluation.problem_at("/metadata/namespace", message, source, show_value=True)
