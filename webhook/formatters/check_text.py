"""A report as text: one line a finding, which editors can jump to, and a summary."""

from collections.abc import Iterator, Mapping
from itertools import islice

import click

from webhook.check.checker import CheckFinding, CheckReport
from webhook.check.input_files import InputProblem
from webhook.core.manifests.intent import RENDERING
from webhook.core.policy.model import Action
from webhook.core.text import counted, plain

_WORDS = {Action.REJECT: "error", Action.PATCH: "patch", Action.WARN: "warning"}
_MOST_NAMES = 10
_MOST_TEMPLATES = 3
_LONGEST_NAME = 100
_COLOURS = {"error": "red", "patch": "cyan", "warning": "yellow", "note": "blue"}


def lines(report: CheckReport, *, verbose: bool = False, colour: bool = False) -> Iterator[str]:
    """Yield the lines: what could not be read, the warnings, the findings, and how many there are of each."""
    for problem in report.problems:
        yield problem_line(problem, colour=colour)
    for warning in report.warnings:
        yield problem_line(warning, "warning", colour=colour)
    for told in report.findings:
        yield _told(told, colour=colour)
    if verbose:
        for told in report.notes:
            yield _told(told, colour=colour)
        for problem in report.skipped:
            yield problem_line(problem, "note", "; skipped", colour=colour)
        for problem in report.not_evaluated:
            yield problem_line(problem, "note", colour=colour)
    yield from _summary(report)


def problem_line(problem: InputProblem, word: str = "error", more: str = "", *, colour: bool = False) -> str:
    """Return the line that tells of a file or document that could not be read."""
    line = f":{problem.line}" if problem.line else ""
    return f"{plain(problem.shown)}{line}: {_styled(word, colour=colour)}: {plain(problem.message)}{more}"


def _told(told: CheckFinding, *, colour: bool) -> str:
    word = _styled(_WORDS.get(told.action, "note"), colour=colour)
    what = plain(f"{told.kind}/{told.name}" if told.name else told.kind)
    document = f" (document {told.document})" if told.several else ""
    said = plain(f"{told.place} {told.detail}".strip())
    return f"{plain(told.file)}:{told.line}: {word}: {what}{document}: {told.rule}: {said}"


def _styled(word: str, *, colour: bool) -> str:
    return click.style(word, fg=_COLOURS[word], bold=True) if colour else word


def _summary(report: CheckReport) -> Iterator[str]:
    counts = report.summary
    yield (
        f"{counted(counts.objects, 'object')} in {counted(counts.files, 'file')} evaluated: "
        f"{counts.denied} denied, {counts.patched} patched, {counts.warned} warned"
    )
    yield from _others("left alone", counts.left_alone)
    yield from _others("not evaluated", counts.not_evaluated)
    templates = list(dict.fromkeys(one.shown for one in report.skipped if one.template))
    others = sum(not one.template for one in report.skipped)
    if others:
        yield f"skipped: {counted(others, 'document')} without a Kubernetes object"
    if templates:
        first = ", ".join(map(plain, templates[:_MOST_TEMPLATES]))
        more = f" and {len(templates) - _MOST_TEMPLATES} more" if len(templates) > _MOST_TEMPLATES else ""
        yield f"unrendered templates: {len(templates)} ({first}{more}); render them first: {RENDERING}"
    if report.problems:
        yield f"could not be read: {len(report.problems)}"


def _others(coverage: str, counts: Mapping[str, int]) -> Iterator[str]:
    """Yield how many objects were not evaluated, and how many of each namespace or kind."""
    if not counts:
        return
    total = sum(counts.values())
    if len(counts) == 1:
        yield f"{coverage}: {total} ({_name(next(iter(counts)))})"
        return
    first = [f"{number} {_name(name)}" for name, number in islice(counts.items(), _MOST_NAMES)]
    more = [f"{total - sum(islice(counts.values(), _MOST_NAMES))} others"] if len(counts) > _MOST_NAMES else []
    yield f"{coverage}: {total} ({', '.join([*first, *more])})"


def _name(name: str) -> str:
    return plain(name[:_LONGEST_NAME])
