"""A check as text for people: grouped by file and object, each finding with its line in the file, and a summary."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import click

from webhook.check.report import CheckFinding, CheckReport, ManifestEvaluation
from webhook.check.source_map import Excerpt
from webhook.core.decision import Outcome
from webhook.core.formatting import counted, plain
from webhook.core.policy.model import Action
from webhook.formatters.check_lines import NOTE, finding_word, location, problem_lines, styled
from webhook.formatters.check_summary import summary_lines
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.wrapping import wrapped

_MAX_CHANGES = 5
_MIN_WIDTH = 40
_CUT = "..."
_WITH_EXAMPLE = frozenset({"legacy-token-reference"})
"""Rules whose explanation has the manifest that repairs a finding."""


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Return what could not be read, the warnings, the findings by file and object, and the summary."""
    findings_shown = report.shown_findings(verbose=options.verbose)
    order = {id(finding): number for number, finding in enumerate(findings_shown)}
    worst = sorted(findings_shown, key=lambda finding: finding.rank)
    shown = worst[: options.rows or None]
    findings = sorted(shown, key=lambda finding: order[id(finding)])
    in_files = groupby(findings, key=lambda finding: finding.evaluation.file)
    return _separated([
        _problems(report, options),
        *(list(_file(file, list(in_file), options)) for file, in_file in in_files),
        _more(worst[len(shown) :]),
        summary_lines(report, options),
    ])  # fmt: skip


def _separated(sections: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of the sections that have any, with an empty line between two of them."""
    is_first = True
    for section in sections:
        for number, line in enumerate(section):
            if not number and not is_first:
                yield ""
            is_first = False
            yield line


def _problems(report: CheckReport, options: FormatOptions) -> Iterator[str]:
    """Yield what could not be read, and the warnings."""
    for problem in report.problems:
        yield from problem_lines(problem, options)
    warnings = report.shown_warnings(quiet=options.quiet)
    for warning in warnings[: options.rows or None]:
        yield from problem_lines(warning, options, "warning")
        if warning.excerpt and warning.excerpt.text:
            yield from _source(warning.excerpt, "warning", options)
    if options.rows and (more := len(warnings) - options.rows) > 0:
        yield f"and {counted(more, 'more warning')}: --max-findings 0 shows all"


def _file(file: str, findings: Iterable[CheckFinding], options: FormatOptions) -> Iterator[str]:
    """Yield the findings in a file by object."""
    yield _bold(plain(file), colour=options.colour)
    for _, about in groupby(findings, key=lambda finding: id(finding.evaluation)):
        yield from _object(list(about), options)


def _more(hidden: Sequence[CheckFinding]) -> Iterator[str]:
    """Yield how many findings are not shown."""
    if hidden:
        files = len({finding.evaluation.file for finding in hidden})
        yield f"and {counted(len(hidden), 'more finding')} in {counted(files, 'file')}: --max-findings 0 shows all"


def _object(findings: list[CheckFinding], options: FormatOptions) -> Iterator[str]:
    """Yield an object with its outcome, and its findings."""
    evaluation = findings[0].evaluation
    outcome = (
        styled(evaluation.outcome, colour=options.colour)
        if evaluation.outcome is not Outcome.ALLOWED
        else evaluation.outcome
    )
    yield f"  {_bold(_name(evaluation), colour=options.colour)}: {outcome}"
    for finding in findings:
        yield from _finding(finding, options)


def _name(evaluation: ManifestEvaluation) -> str:
    within = f" in namespace {plain(evaluation.namespace)}" if evaluation.namespace else ""
    template = evaluation.manifest.template_file
    rendered = f", rendered from {plain(template)}" if template else ""
    return f"{plain(evaluation.title)}{within}{rendered}"


def _finding(finding: CheckFinding, options: FormatOptions) -> Iterator[str]:
    """Yield a finding: what is wrong, where, and what is done about it."""
    word = finding_word(finding)
    message = plain(finding.statement)
    lines = _wrapped(f"{word}[{finding.rule}]: {message}", options, "    ", 6)
    head = f"{word}[{finding.rule}]"
    yield lines[0].replace(head, styled(word, head, colour=options.colour), 1)
    yield from lines[1:]
    gutter = " " * len(str(finding.line))
    yield _blue(f"    {gutter}--> ", options) + _place(finding, options.width - len(gutter) - 8)
    excerpt = finding.excerpt
    if excerpt and excerpt.text:
        yield from _source(excerpt, word, options)
    changes = [*finding.changes[:_MAX_CHANGES]]
    if len(finding.changes) > _MAX_CHANGES:
        changes.append(f"and {len(finding.changes) - _MAX_CHANGES} more")
    for change in changes:
        yield from _advice("patch", change, gutter, options)
    if finding.obstacle:
        yield from _advice(NOTE, f"--fix cannot edit it: {finding.obstacle}", gutter, options)
    if finding.advice and finding.action is not Action.PATCH:
        example = f"; example: tokenguard rules {finding.rule}" if finding.rule in _WITH_EXAMPLE else ""
        yield from _advice("help", f"{finding.advice}{example}", gutter, options)


def _place(finding: CheckFinding, room: int) -> str:
    """Return `FILE:LINE:COLUMN`; on a terminal only the name of a file whose path does not fit below its heading."""
    text = location(finding)
    return text if room < 0 or len(text) <= room else f".../{text.rpartition('/')[2]}"


def _advice(label: str, text: str, gutter: str, options: FormatOptions) -> Iterator[str]:
    head = f"    {gutter} = "
    first, *more = _wrapped(f"{label}: {plain(text)}", options, head, len(head) + 2)
    yield _blue(head, options) + first.removeprefix(head)
    yield from more


def _source(excerpt: Excerpt, word: str, options: FormatOptions) -> Iterator[str]:
    """Yield the line in the file and a caret line under the place; on a terminal, as much of it as fits."""
    text, start, end = excerpt.text, excerpt.start, max(excerpt.end, excerpt.start + 1)
    number = str(excerpt.line)
    gutter = " " * len(number)
    room = max(options.width, _MIN_WIDTH) - len(gutter) - 7 if options.width else 0
    if room and len(text) > room:
        first = max(0, min(start - 4, len(text) - room))
        cut = text[first : first + room]
        text = (_CUT if first else cut[: len(_CUT)]) + cut[len(_CUT) :]
        text = text if first + room >= len(excerpt.text) else text[: -len(_CUT)] + _CUT
        start, end = start - first, min(end - first, room)
    yield _blue(f"    {gutter} |", options)
    yield _blue(f"    {number} | ", options) + text
    caret = styled(word, "^" * (end - start), colour=options.colour)
    yield _blue(f"    {gutter} | ", options) + " " * start + caret


def _wrapped(text: str, options: FormatOptions, first: str, column: int) -> list[str]:
    return wrapped(first + text, options.width and max(options.width, _MIN_WIDTH), column)


def _bold(text: str, *, colour: bool) -> str:
    return click.style(text, bold=True) if colour else text


def _blue(text: str, options: FormatOptions) -> str:
    return styled(NOTE, text, colour=options.colour)
