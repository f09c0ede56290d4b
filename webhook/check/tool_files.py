"""Files that kustomize, kubectl or Helm read, and that never reach the API server as they are."""

import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from webhook.check.input_files import InputProblem
from webhook.check.kustomization import FILE_NAMES, Kustomization, kustomizations, named_files, to_build
from webhook.check.report import (
    HELM_FILES,
    KUSTOMIZE_PATCHES,
    NO_OBJECTS,
    TOOL_FILES,
    CheckReport,
    NotEvaluated,
    ParsedFile,
)
from webhook.check.unrendered import CHART
from webhook.core.formatting import counted
from webhook.core.manifests import NO_OBJECT, Manifest

_MAX_BUILDS = 5
"""How many kustomizations to build have a warning each."""
_MAX_FOLDERS = 20


def remove_tool_files(report: CheckReport) -> None:
    """Remove the documents of these files from those to evaluate, and add them with the reason."""
    reasons = named_files(report.files)
    charts = {path.parent for file in report.files if (path := Path(file.source.path)).name == CHART}
    report.not_evaluated[:] = [_with_reason(skipped, reasons, charts) for skipped in report.not_evaluated]
    report.files[:] = [_evaluated_part(report, file, reasons) for file in report.files]
    given = list(kustomizations(report.files))
    builds = to_build(given)
    report.warnings += _kustomize_warnings(builds)
    notes = {each.path: f"; {_changes(each)}" for each in given if each.changes}
    notes |= {each.path: f"; {_changes(each)}; check the result: {build_command(each.folder)}" for each in builds}
    report.not_evaluated[:] = [_with_note(skipped, notes) for skipped in report.not_evaluated]


def _kustomize_warnings(builds: Sequence[Kustomization]) -> Iterator[InputProblem]:
    """Yield a warning for each kustomization to build; one for all if there are many."""
    if len(builds) <= _MAX_BUILDS:
        for each in builds:
            what = f"{_changes(each)}; the files are evaluated without that"
            yield InputProblem(each.path, f"{what}; check the result: {build_command(each.folder)}")
        return
    folders = [each.folder for each in builds[:_MAX_FOLDERS]]
    more = f" and {len(builds) - len(folders)} more, which -v lists" if len(folders) < len(builds) else ""
    what = f"{_changes(builds[0])}, like {counted(len(builds) - 1, 'other kustomization')}"
    how = f"check the result of each: {build_command('FOLDER')}; the folders: {', '.join(folders)}{more}"
    yield InputProblem(builds[0].path, f"{what}; the files are evaluated without that; {how}")


def _with_note(skipped: NotEvaluated, notes: Mapping[str, str]) -> NotEvaluated:
    """Return a file of kustomize with what it does."""
    note = notes.get(skipped.problem.path, "") if skipped.reason == TOOL_FILES else ""
    return replace(skipped, problem=replace(skipped.problem, message=skipped.problem.message + note))


def _changes(kustomization: Kustomization) -> str:
    """Return what a kustomization does to the objects of files."""
    keys = ", ".join(kustomization.changes)
    return f"changes or adds objects ({keys})" if keys else "includes kustomizations that change or add objects"


def build_command(folder: str) -> str:
    """Return how to check what a kustomization makes."""
    return f"kustomize build {shlex.quote(folder)} | tokenguard check -"


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
