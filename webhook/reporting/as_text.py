"""A report as text: one line a finding, which editors can jump to, and a summary."""

from collections.abc import Iterator

import click

from webhook.core.policy.model import Action
from webhook.core.text import counted, plain
from webhook.reporting.check import Report, Summary, Told
from webhook.reporting.files import Trouble

_WORDS = {Action.REJECT: "error", Action.PATCH: "patch", Action.WARN: "warning"}
_COLOURS = {"error": "red", "patch": "cyan", "warning": "yellow", "note": "blue"}


def lines(report: Report, *, verbose: bool = False, colour: bool = False) -> Iterator[str]:
    """Yield the lines: what could not be read, the findings, and how many there are of what."""
    for trouble in report.troubles:
        yield trouble_line(trouble, colour=colour)
    for told in report.findings:
        yield _told(told, colour=colour)
    if verbose:
        for told in report.notes:
            yield _told(told, colour=colour)
        for trouble in report.skipped:
            yield trouble_line(trouble, "note", "; skipped", colour=colour)
    yield _summary(report)


def trouble_line(trouble: Trouble, word: str = "error", more: str = "", *, colour: bool = False) -> str:
    """Return the line that tells of a file or document that could not be read."""
    line = f":{trouble.line}" if trouble.line else ""
    return f"{plain(trouble.shown)}{line}: {_styled(word, colour=colour)}: {plain(trouble.message)}{more}"


def _told(told: Told, *, colour: bool) -> str:
    word = _styled(_WORDS.get(told.action, "note"), colour=colour)
    what = plain(f"{told.kind}/{told.name}" if told.name else told.kind)
    document = f" (document {told.document})" if told.several else ""
    said = plain(f"{told.place} {told.detail}".strip())
    return f"{plain(told.file)}:{told.line}: {word}: {what}{document}: {told.rule}: {said}"


def _styled(word: str, *, colour: bool) -> str:
    return click.style(word, fg=_COLOURS[word], bold=True) if colour else word


def _summary(report: Report) -> str:
    counts: Summary = report.summary
    said = (
        f"{counted(counts.objects, 'object')} in {counted(counts.files, 'file')} judged: "
        f"{counts.rejected} would be rejected, {counts.patched} patched, {counts.warned} warned"
    )
    if report.troubles:
        said += f"; {len(report.troubles)} could not be read"
    if report.skipped:
        said += f"; {counted(len(report.skipped), 'document')} skipped as no Kubernetes object"
    return said
