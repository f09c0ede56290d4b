"""A report as JSON, for programs; `version` changes when a key changes its meaning or goes."""

import json
from typing import Any

from webhook.check.checker import CheckFinding, CheckReport
from webhook.check.input_files import InputProblem

VERSION = 2


def text(report: CheckReport, *, verbose: bool = False) -> str:
    """Return the report as indented JSON.

    Findings hold `file`, `document` and `line` (both from one), `kind`, `namespace`, `name`, `rule`, `action`
    (reject, patch or warn; with `verbose` also audit, and off for what is exempt), `path` and `detail`.
    """
    told = (*report.findings, *report.notes) if verbose else report.findings
    document = {
        "version": VERSION,
        "findings": [_finding(one) for one in told],
        "summary": report.summary.as_json()
        | {
            "skipped": sum(not one.template for one in report.skipped),
            "templates": sum(one.template for one in report.skipped),
        },
        "problems": [_trouble(one) for one in report.problems],
        "warnings": [_trouble(one) for one in report.warnings],
        "skipped": [_trouble(one) for one in report.skipped],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _trouble(problem: InputProblem) -> dict[str, Any]:
    return {
        "file": problem.shown,
        "document": problem.document,
        "line": problem.line,
        "message": problem.message,
    }


def _finding(told: CheckFinding) -> dict[str, Any]:
    return {
        "file": told.file,
        "document": told.document,
        "line": told.line,
        "kind": told.kind,
        "namespace": told.namespace,
        "name": told.name,
        "rule": told.rule,
        "action": told.action.value,
        "path": told.place,
        "detail": told.detail,
    }
