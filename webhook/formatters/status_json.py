"""The status of an installation as JSON; `version` changes when a key is removed or changes its meaning."""

from collections.abc import Iterator

from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json
from webhook.status.report import StatusReport

VERSION = 1


def format_report(report: StatusReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the rows and what is wrong; `state` is ok, note, problem, unknown (not read) or absent (optional)."""
    yield format_json({
        "version": VERSION,
        "namespace": report.namespace,
        "protected": report.is_protected,
        "rows": [
            {
                "name": row.name,
                "state": row.state,
                "summary": row.summary,
                "problems": [
                    {"text": problem.text, "fix": problem.fix or None, "note": problem.is_note}
                    for problem in row.problems
                ],
            }
            for row in report.rows
        ],
    })  # fmt: skip
