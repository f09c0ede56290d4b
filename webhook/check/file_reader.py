"""Reads the files of a run into a report, and adds what cannot be read or is not meant for Kubernetes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from webhook.check.ignore_rules import IGNORE_FILE
from webhook.check.input_files import InputFile, InputProblem, SkippedPath, is_empty, read
from webhook.check.kustomization import FILE_NAMES
from webhook.check.report import NO_OBJECTS, TEMPLATES, CheckReport, NotEvaluated, ParsedFile
from webhook.check.tool_files import build_command, remove_tool_files
from webhook.check.unrendered import template_warnings, with_chart
from webhook.core.documents.stream import first_invalid_line
from webhook.core.manifests import NO_OBJECT, read_manifests
from webhook.core.placeholders import rendering_advice

_INVALID_BYTES = "has bytes that are not text; kubectl replaces them by U+FFFD; save the file as UTF-8"


def read_all(
    report: CheckReport,
    sources: list[InputFile | InputProblem | SkippedPath],
    stdin: BinaryIO,
    step: Callable[[str], None],
) -> None:
    """Add the files, what could not be read, and the documents that are not evaluated."""
    for number, source in enumerate(sources, 1):
        step(f"reading file {number} of {len(sources)}")
        if isinstance(source, SkippedPath):
            report.not_evaluated.append(NotEvaluated(source.reason, source.problem))
            continue
        data = source if isinstance(source, InputProblem) else read(source, stdin)
        if isinstance(source, InputFile) and isinstance(data, bytes):
            _add_file(report, source, data)
        elif isinstance(data, InputProblem):
            report.problems.append(data)
    remove_tool_files(report)


def require_objects(report: CheckReport, sources: list[InputFile | InputProblem | SkippedPath]) -> None:
    """Add a problem for each given path if no object was found: a run that evaluates nothing must not look clean.

    If objects were found, add a warning about the unrendered templates beside them.
    """
    if report.problems or report.evaluations:
        report.warnings += template_warnings(report)
    elif report.not_evaluated:
        report.problems += _without_manifests(report)
        given = (source.path for source in sources if isinstance(source, SkippedPath) and source.given)
        report.problems += (InputProblem(path, f"is excluded by {IGNORE_FILE}") for path in given)


def _add_file(report: CheckReport, source: InputFile, data: bytes) -> None:
    path, named = source.path, source.named
    reading = read_manifests(data)
    report.files.append(ParsedFile(source, data, reading))
    if is_empty(data):
        problem = InputProblem(path, "contains no manifest")
        if named:
            report.problems.append(problem)
        else:
            report.not_evaluated.append(NotEvaluated(NO_OBJECTS, problem))
    if (line := first_invalid_line(data)) and (named or reading.manifests):
        report.warnings.append(InputProblem(path, _INVALID_BYTES, line))
    is_kustomization = Path(path).name in FILE_NAMES
    for unread in reading.problems:
        message = with_chart(unread.message, path) if unread.template else unread.message
        problem = InputProblem(path, message, unread.line, unread.document, unread.column or None)
        is_skipped = not named or (is_kustomization and unread.message.startswith(NO_OBJECT))
        if not (is_skipped and unread.foreign):
            report.problems.append(problem)
        else:
            report.not_evaluated.append(NotEvaluated(TEMPLATES if unread.template else NO_OBJECTS, problem))
    report.warnings += (
        InputProblem(path, warning.message, warning.line, warning.document, warning.column or None)
        for warning in reading.warnings
        if named or not warning.foreign
    )


def _without_manifests(report: CheckReport) -> Iterator[InputProblem]:
    """Yield a problem for each given path that has no manifest."""
    templates = [document.problem for document in report.not_evaluated if document.reason == TEMPLATES]
    for root in dict.fromkeys(file.source.root for file in report.files):
        paths = {file.source.path for file in report.files if file.source.root == root}
        rendering = rendering_advice(problem.message for problem in templates if problem.path in paths)
        hint = f", only unrendered templates; render them first: {rendering}" if rendering else ""
        if not hint and (
            folders := [str(Path(path).parent) for path in sorted(paths) if Path(path).name in FILE_NAMES]
        ):
            hint = f"; to check a kustomization: {build_command(folders[0] if len(folders) == 1 else 'FOLDER')}"
        yield InputProblem(root, f"contains no Kubernetes manifest{hint}")
