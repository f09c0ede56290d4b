"""A check as one line per finding, for editors and `grep`, and the summary."""

from collections.abc import Iterator

from webhook.check.report import CheckReport
from webhook.formatters.check_lines import editor_line, finding_line
from webhook.formatters.check_summary import summary_lines
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield what could not be read, the warnings, the findings, and the summary."""
    colour = options.colour
    yield from (editor_line(problem, colour=colour) for problem in report.problems)
    warnings = report.shown_warnings(quiet=options.quiet)
    yield from (editor_line(warning, "warning", colour=colour) for warning in warnings)
    yield from (finding_line(finding, colour=colour) for finding in report.shown_findings(verbose=options.verbose))
    yield from summary_lines(report, options)
