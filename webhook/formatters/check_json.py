"""A check as JSON; `version` changes when a key changes its meaning or is removed."""

from collections.abc import Iterator
from typing import Any

from webhook.check.input_files import InputProblem
from webhook.check.report import CheckFinding, CheckReport
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json

VERSION = 2


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as indented JSON.

    `action` of a finding is reject, patch or warn; with `verbose` also audit, and off for an exempt finding.
    """
    summary = report.summary
    yield format_json({
        "version": VERSION,
        "findings": [_finding(finding) for finding in report.shown_findings(verbose=options.verbose)],
        "summary": {
            "objects": summary.objects,
            "files": summary.files,
            **{outcome.value: count for outcome, count in summary.outcomes.items()},
            "excluded": summary.excluded,
            "notEvaluated": summary.not_evaluated,
            "skipped": sum(not document.template for document in report.skipped),
            "templates": sum(document.template for document in report.skipped),
        },
        "problems": [_problem(problem) for problem in report.problems],
        "warnings": [_problem(warning) for warning in report.warnings],
        "skipped": [_problem(document) for document in report.skipped],
    })  # fmt: skip


def _problem(problem: InputProblem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ("file", "document", "line", "message")}


def _finding(finding: CheckFinding) -> dict[str, Any]:
    evaluation, manifest = finding.evaluation, finding.evaluation.manifest
    return {
        "file": evaluation.file,
        "document": manifest.document,
        "line": finding.line,
        "kind": manifest.kind,
        "namespace": evaluation.namespace,
        "name": manifest.name,
        "rule": finding.rule,
        "action": finding.action,
        "path": finding.path,
        "detail": finding.detail,
    }
