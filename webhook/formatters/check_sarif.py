"""A check as SARIF 2.1.0, which code hosts show beside the lines of a change."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from webhook.check.checker import UNREADABLE_OBJECT
from webhook.check.input_files import InputProblem, uri
from webhook.check.report import CheckFinding, CheckReport
from webhook.core.decision import INVALID_POLICY
from webhook.core.policy.model import Action
from webhook.core.rules import RULES
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Action.REJECT: "error",
    Action.PATCH: "warning",
    Action.WARN: "warning",
    Action.AUDIT: "note",
    Action.OFF: "none",
}
_UNREADABLE_EXPLANATION = """\
The object is of a kind that rules evaluate, but a field that they read has another type than Kubernetes defines. It
cannot be evaluated, and the API server would refuse it, too."""
_INVALID_EXPLANATION = """\
The ConfigMap has the label tokenguard/policy, so its key policy.yaml must contain a valid policy. The webhook denies
the ConfigMap as long as it does not; `tokenguard policy validate` shows all errors."""


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as indented SARIF."""
    seen: Counter[str] = Counter()
    run = {
        "tool": {"driver": _driver()},
        "invocations": [
            {
                "executionSuccessful": not report.problems,
                "exitCode": report.exit_status,
                "toolExecutionNotifications": [
                    *(_notification(problem, "error") for problem in report.problems),
                    *(_notification(warning, "warning") for warning in report.warnings),
                ],
            }
        ],
        "results": [_result(finding, seen) for finding in report.shown_findings(verbose=options.verbose)],
    }
    yield format_json({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _driver() -> dict[str, Any]:
    rules = [_descriptor(rule.name, rule.summary, rule.explanation, rule.default) for rule in RULES]
    others = [
        _descriptor(UNREADABLE_OBJECT, "an object cannot be read", _UNREADABLE_EXPLANATION, Action.REJECT),
        _descriptor(INVALID_POLICY, "a policy is invalid", _INVALID_EXPLANATION, Action.REJECT),
    ]
    return {"name": "tokenguard", "version": version("tokenguard-webhook"), "rules": [*rules, *others]}


_INDEX = {name: index for index, name in enumerate([*(rule.name for rule in RULES), UNREADABLE_OBJECT, INVALID_POLICY])}


def _descriptor(name: str, summary: str, explanation: str, default: Action) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": {"text": summary},
        "fullDescription": {"text": explanation},
        "help": {"text": explanation},
        "defaultConfiguration": {"level": _LEVELS[default], "enabled": default is not Action.OFF},
    }


def _result(finding: CheckFinding, seen: Counter[str]) -> dict[str, Any]:
    place = f"{finding.path} " if finding.path else ""
    title = finding.evaluation.title
    return {
        "ruleId": finding.rule,
        "ruleIndex": _INDEX[finding.rule],
        "level": _LEVELS[finding.action],
        "message": {"text": f"{title}: {place}{finding.detail}"},
        "locations": [
            {
                "physicalLocation": _physical(finding.evaluation.file_path, finding.line),
                "logicalLocations": [{"fullyQualifiedName": f"{title} {place}".rstrip(), "kind": "member"}],
            }
        ],
        "partialFingerprints": {"tokenguard/v1": _fingerprint(finding, seen)},
    }


def _notification(problem: InputProblem, level: str) -> dict[str, Any]:
    return {
        "level": level,
        "message": {"text": problem.message},
        "locations": [{"physicalLocation": _physical(problem.path, problem.line)}],
    }


def _physical(path: str, line: int | None) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": uri(path)}}
    return location | {"region": {"startLine": line}} if line else location


def _fingerprint(finding: CheckFinding, seen: Counter[str]) -> str:
    """Return a value that identifies a finding and does not change when lines above it do."""
    found = finding.evaluation
    kind, name = found.manifest.kind, found.manifest.name
    parts = (finding.rule, uri(found.file_path), kind, found.namespace, name, finding.path)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    seen[digest] += 1
    return f"{digest}:{seen[digest]}"
