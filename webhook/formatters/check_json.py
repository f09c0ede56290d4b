"""A check as JSON; `version` changes when a key changes its meaning or is removed."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from webhook.check.input_files import InputProblem
from webhook.check.report import CheckFinding, CheckReport
from webhook.core.decision import Outcome
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json

VERSION = 3


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as indented JSON.

    `action` of a finding is reject, patch or warn; with `verbose` also audit, and off for an exempt finding.
    """
    summary, policy = report.summary, report.policy
    yield format_json({
        "version": VERSION,
        "policy": {
            "origin": policy.origin,
            "revision": policy.revision,
            "mode": policy.given_mode or policy.mode,
            "help": report.help,
        },
        "findings": [_finding(finding) for finding in report.shown_findings(verbose=options.verbose)],
        "summary": {
            "objects": summary.objects,
            "files": summary.files,
            **_counts(summary.outcomes),
            "underEnforce": _counts(summary.enforced) if summary.enforced is not None else None,
            "fixed": report.fixed,
            "rules": {rule: _counts(counts) for rule, counts in report.by_rule().items()},
            "notEvaluated": {reason: len(documents) for reason, documents in report.by_reason().items()},
        },
        "problems": [_problem(problem) for problem in report.problems],
        "warnings": [_problem(warning) for warning in report.warnings],
        "missingSecrets": [{"namespace": namespace, "name": name} for namespace, name in report.missing_secrets],
        "notEvaluated": [
            {**_problem(document.problem), "reason": document.reason, "kind": document.kind}
            for document in report.not_evaluated
        ],
    })  # fmt: skip


def _counts(outcomes: Counter[Outcome]) -> dict[str, int]:
    return {outcome.value: outcomes[outcome] for outcome in reversed(Outcome)}


def _problem(problem: InputProblem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ("file", "document", "line", "message")}


def _finding(finding: CheckFinding) -> dict[str, Any]:
    evaluation, manifest = finding.evaluation, finding.evaluation.manifest
    return {
        "file": evaluation.file,
        "document": manifest.document,
        "line": finding.line,
        "column": finding.excerpt.column if finding.excerpt else None,
        "endColumn": finding.excerpt.end_column if finding.excerpt else None,
        "kind": manifest.kind,
        "namespace": evaluation.namespace,
        "name": manifest.name,
        "rule": finding.rule,
        "action": finding.action,
        "path": finding.path,
        "detail": finding.detail,
    }
