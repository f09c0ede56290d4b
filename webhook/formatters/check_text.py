"""A check as text: one line a finding, in the form that editors can jump to, and a summary."""

from collections.abc import Iterator, Mapping
from itertools import islice

import click

from webhook.check.input_files import InputProblem
from webhook.check.report import CheckFinding, CheckReport
from webhook.core.decision import Outcome
from webhook.core.formatting import counted, plain
from webhook.core.manifests import RENDERING
from webhook.core.policy.model import Action
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions

_WORDS = {Action.REJECT: Outcome.DENIED, Action.PATCH: Outcome.PATCHED, Action.WARN: Outcome.WARNED}
_MAX_NAMES = 10
_MAX_TEMPLATES = 3
_MAX_NAME_LENGTH = 100
_COLOURS = {
    "error": "red", Outcome.DENIED: "red", Outcome.PATCHED: "cyan", Outcome.WARNED: "yellow", "warning": "yellow",
    "note": "blue",
}  # fmt: skip


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield what could not be read, the warnings, the findings, and the summary."""
    colour = options.colour
    yield from (problem_line(problem, colour=colour) for problem in report.problems)
    yield from (problem_line(warning, "warning", colour=colour) for warning in report.warnings)
    yield from (_finding(finding, colour=colour) for finding in report.shown_findings(verbose=options.verbose))
    if options.verbose:
        yield from (problem_line(document, "note", "; skipped", colour=colour) for document in report.skipped)
        yield from (problem_line(manifest, "note", colour=colour) for manifest in report.not_evaluated)
    yield from _summary(report)


def problem_line(problem: InputProblem, word: str = "error", suffix: str = "", *, colour: bool = False) -> str:
    """Return the line about a file or document that could not be read."""
    line = f":{problem.line}" if problem.line else ""
    return f"{plain(problem.file)}{line}: {_styled(word, colour=colour)}: {plain(problem.message)}{suffix}"


def _finding(finding: CheckFinding, *, colour: bool) -> str:
    word = _styled(_WORDS.get(finding.action, "note"), colour=colour)
    found = finding.evaluation
    document = f" (document {found.manifest.document})" if found.multi_document else ""
    message = plain(f"{finding.path} {finding.detail}".strip())
    return f"{plain(found.file)}:{finding.line}: {word}: {plain(found.title)}{document}: {finding.rule}: {message}"


def _styled(word: str, *, colour: bool) -> str:
    return click.style(word, fg=_COLOURS[word], bold=True) if colour else word


def _summary(report: CheckReport) -> Iterator[str]:
    summary = report.summary
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in summary.outcomes.items())
    yield f"{counted(summary.objects, 'object')} in {counted(summary.files, 'file')} evaluated: {outcomes}"
    yield from _counts("excluded", summary.excluded)
    yield from _counts("not evaluated", summary.not_evaluated)
    templates = list(dict.fromkeys(document.file for document in report.skipped if document.template))
    others = sum(not document.template for document in report.skipped)
    if others:
        yield f"skipped: {counted(others, 'document')} without a Kubernetes object"
    if templates:
        first = ", ".join(map(plain, templates[:_MAX_TEMPLATES]))
        more = f" and {len(templates) - _MAX_TEMPLATES} more" if len(templates) > _MAX_TEMPLATES else ""
        yield f"unrendered templates: {len(templates)} ({first}{more}); render them first: {RENDERING}"
    if report.problems:
        yield f"could not be read: {len(report.problems)}"


def _counts(title: str, counts: Mapping[str, int]) -> Iterator[str]:
    """Yield how many objects were not evaluated, by namespace or kind."""
    if not counts:
        return
    total = sum(counts.values())
    names = [
        f"{number} {plain(name[:_MAX_NAME_LENGTH])}".removeprefix(f"{total} ")
        for name, number in islice(counts.items(), _MAX_NAMES)
    ]
    if len(counts) > _MAX_NAMES:
        names.append(f"{total - sum(islice(counts.values(), _MAX_NAMES))} others")
    yield f"{title}: {total} ({', '.join(names)})"
