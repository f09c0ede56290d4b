"""Files that kustomize, kubectl or Helm read, and that never reach the API server as they are."""

import os
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from webhook.check.input_files import InputProblem
from webhook.check.kustomization import FILE_NAMES, changing_kustomizations, named_files
from webhook.check.report import (
    HELM_FILES,
    KUSTOMIZE_PATCHES,
    NO_OBJECTS,
    TOOL_FILES,
    CheckReport,
    NotEvaluated,
    ParsedFile,
)
from webhook.core.formatting import counted
from webhook.core.manifests import NO_OBJECT, Manifest

CHART = "Chart.yaml"
"""The file that makes a folder a Helm chart."""


def remove_tool_files(report: CheckReport) -> None:
    """Remove the documents of these files from those to evaluate, and add them with the reason."""
    reasons = named_files(report.files)
    charts = {path.parent for file in report.files if (path := Path(file.source.path)).name == CHART}
    report.not_evaluated[:] = [_with_reason(skipped, reasons, charts) for skipped in report.not_evaluated]
    report.warnings += _kustomize_warning(dict(changing_kustomizations(report.files)))
    report.files[:] = [_evaluated_part(report, file, reasons) for file in report.files]


def _kustomize_warning(keys: Mapping[str, list[str]]) -> Iterator[InputProblem]:
    """Yield a warning if kustomizations make other objects than the files contain; `keys` are theirs, by their path."""
    for path in list(keys)[:1]:
        others = f", and {counted(len(keys) - 1, 'other kustomization')} too" if len(keys) > 1 else ""
        what = f"changes or adds objects ({', '.join(keys[path])}){others}; the files are evaluated without that"
        folder = shlex.quote(str(Path(path).parent))
        yield InputProblem(path, f"{what}; check the result: kustomize build {folder} | tokenguard check -")


def _with_reason(skipped: NotEvaluated, reasons: Mapping[str, str], charts: Collection[Path]) -> NotEvaluated:
    """Return a document that is no object with the tool that reads it, if its file's name says which."""
    path = Path(skipped.problem.path)
    if skipped.reason != NO_OBJECTS:
        return skipped
    reason = reasons.get(os.path.normpath(path), TOOL_FILES if path.name in FILE_NAMES else "")
    if reason:
        problem = skipped.problem
        if problem.message.startswith(NO_OBJECT):
            what = "patch" if reason == KUSTOMIZE_PATCHES else "file of kustomize"
            problem = replace(problem, message=f"is a {what}")
        return replace(skipped, reason=reason, problem=problem)
    is_of_chart = path.parent in charts and (path.name == CHART or path.name.startswith("values"))
    return replace(skipped, reason=HELM_FILES) if is_of_chart else skipped


def _evaluated_part(report: CheckReport, file: ParsedFile, reasons: Mapping[str, str]) -> ParsedFile:
    """Return a file without the documents that are never sent to the API server as they are; they are reported."""
    in_file = "" if file.source.named else reasons.get(os.path.normpath(file.source.path), "")
    evaluated = []
    for manifest in file.reading.manifests:
        if reason := TOOL_FILES if manifest.tool else in_file:
            problem = InputProblem(file.source.path, _message(manifest, reason), manifest.line, manifest.document)
            report.not_evaluated.append(NotEvaluated(reason, problem, name=manifest.title))
        else:
            evaluated.append(manifest)
    return replace(file, reading=replace(file.reading, manifests=tuple(evaluated)))


def _message(manifest: Manifest, reason: str) -> str:
    if reason == KUSTOMIZE_PATCHES:
        return f"{manifest.title} is a patch"
    return f"{manifest.kind} is a file of {manifest.tool or 'kustomize'}"
