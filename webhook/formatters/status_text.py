"""The status of an installation as text: one screen."""

from collections.abc import Iterator

from webhook.core.formatting import counted
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.status.report import RowState, StatusReport

_MARKS = {
    RowState.OK: "ok",
    RowState.NOTE: "note",
    RowState.PROBLEM: "FAIL",
    RowState.UNKNOWN: "?",
    RowState.ABSENT: "-",
}
_COLOURS = {RowState.OK: 32, RowState.NOTE: 33, RowState.PROBLEM: 31}


def format_report(report: StatusReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield a line for each part, and then what is wrong with the command that repairs it."""
    count = sum(not problem.is_note for problem in report.problems)
    verdict = "protected" if report.is_protected else f"NOT PROTECTED: {counted(count, 'problem')}"
    yield f"tokenguard in namespace {report.namespace}: {verdict}"
    yield ""
    for row in report.rows:
        mark = f"{_MARKS[row.state]:<4}"
        if options.colour and row.state in _COLOURS:
            mark = f"\033[{_COLOURS[row.state]}m{mark}\033[0m"
        yield f"  {mark}  {row.name:<11}  {row.summary}"
    if report.problems:
        yield ""
    for number, problem in enumerate(report.problems, 1):
        yield f"{number}. {'note: ' if problem.is_note else ''}{problem.text}"
        if problem.fix:
            yield f"   fix: {problem.fix}"
