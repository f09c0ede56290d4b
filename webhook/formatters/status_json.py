"""The status of an installation as JSON; `version` changes when a key is removed or changes its meaning."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json
from webhook.status.report import StatusProblem, StatusReport

VERSION = 1


def format_report(report: StatusReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the rows and what is wrong; `state` is ok, note, problem, unknown (not read) or absent (optional).

    `cause` is the text of the problem from which one probably follows, or null; `turnOff` is a command, or null unless
    no pod can be created.
    """
    yield format_json({
        "version": VERSION,
        "toolVersion": version("tokenguard-webhook"),
        "time": report.time,
        "cluster": report.cluster,
        "context": report.context,
        "namespace": report.namespace,
        "protected": report.is_protected,
        "rows": [
            {
                "name": row.name,
                "state": row.state,
                "summary": row.summary,
                "problems": [_problem(report, problem) for problem in row.problems],
            }
            for row in report.rows
        ],
        "turnOff": report.emergency_exit or None,
    })  # fmt: skip


def _problem(report: StatusReport, problem: StatusProblem) -> dict[str, Any]:
    """Return a problem; that of an effect is solved by the fix of its cause."""
    cause = report.cause(problem)
    fix = (cause or problem).fix or None
    return {"text": problem.text, "fix": fix, "note": problem.is_note, "cause": cause.text if cause else None}
