"""The status of an installation as text: one screen."""

from collections.abc import Iterator

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
    """Yield a line for each part, with the numbers of its problems, and then these with their fixes."""
    yield f"tokenguard in namespace {report.namespace}: {report.verdict}"
    yield ""
    for row in report.rows:
        mark = f"{_MARKS[row.state]:<4}"
        numbers = ", ".join(str(report.problems.index(problem) + 1) for problem in row.problems)
        line = f"  {mark}  {row.name:<11}  {row.summary}{f' [{numbers}]' if numbers else ''}"
        first, *others = wrapped(line, options.width, _SUMMARY)
        if options.colour and row.state in _COLOURS:
            first = first.replace(mark, f"\033[{_COLOURS[row.state]}m{mark}\033[0m", 1)
        yield from (first, *others)
    if report.problems:
        yield ""
    for number, problem in enumerate(report.problems, 1):
        yield from wrapped(f"{number}. {'note: ' if problem.is_note else ''}{problem.text}", options.width, 3)
        if problem.fix:  # in one line, as it is a command to copy
            yield f"   fix: {problem.fix}"
