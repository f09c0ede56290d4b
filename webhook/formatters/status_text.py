"""The status of an installation as text: one screen."""

from collections.abc import Iterator

from webhook.core.formatting import plain
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.wrapping import wrapped
from webhook.status.report import RowState, StatusReport

_MARKS = {
    RowState.OK: "ok",
    RowState.NOTE: "note",
    RowState.PROBLEM: "FAIL",
    RowState.UNKNOWN: "?",
    RowState.ABSENT: "-",
}
_SUMMARY = 21
_COLOURS = {RowState.OK: 32, RowState.NOTE: 33, RowState.PROBLEM: 31}


def format_report(report: StatusReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield verdict, cluster, a line for each part with the numbers of its problems, and their fixes and effects."""
    yield f"tokenguard in namespace {report.namespace}: {report.verdict}"
    if report.emergency_exit:
        yield f"To turn tokenguard off until this is repaired: {report.emergency_exit}"
    yield f"cluster    {plain(report.cluster)}, {report.time:%Y-%m-%d %H:%M} UTC"
    if report.context:
        yield f"context    {plain(report.context)}"
    yield ""
    problems = report.problems
    for row in report.rows:
        mark = f"{_MARKS[row.state]:<4}"
        indexes = {problems.index(report.cause(problem) or problem) + 1 for problem in row.problems}
        numbers = ", ".join(map(str, sorted(indexes)))
        line = f"  {mark}  {row.name:<11}  {row.summary}{f' [{numbers}]' if numbers else ''}"
        first, *others = wrapped(line, options.width, _SUMMARY)
        if options.colour and row.state in _COLOURS:
            first = first.replace(mark, f"\033[{_COLOURS[row.state]}m{mark}\033[0m", 1)
        yield from (first, *others)
    if problems:
        yield ""
    for number, problem in enumerate(problems, 1):
        yield from wrapped(f"{number}. {'note: ' if problem.is_note else ''}{problem.text}", options.width, 3)
        if problem.fix:  # in one line, as it is a command to copy
            yield f"   fix: {problem.fix}"
        for effect in report.effects(problem):
            yield from wrapped(f"   likely effect: {effect.text}", options.width, 5)
