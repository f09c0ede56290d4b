"""A report as SARIF 2.1.0, which code hosts show beside the lines of a change."""

import hashlib
import json
from collections import Counter
from importlib.metadata import version
from typing import Any

from webhook.check.checker import UNREADABLE_OBJECT, CheckFinding, CheckReport
from webhook.check.input_files import InputProblem, uri
from webhook.core.decision import INVALID_POLICY
from webhook.core.policy.model import Action
from webhook.core.rules import RULES

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Action.REJECT: "error",
    Action.PATCH: "warning",
    Action.WARN: "warning",
    Action.AUDIT: "note",
    Action.OFF: "none",
}
_UNREADABLE_WHY = """\
The object is of a kind that rules look at, but a field that they read has another type than Kubernetes gives it. It
can't be judged, and the API server would refuse it, too."""
_INVALID_WHY = """\
The ConfigMap has the label tokenguard/policy, so it is to hold a policy under data, key policy.yaml, and a policy with
mistakes never comes into force. `tokenguard policy validate` tells them, too; the webhook refuses the ConfigMap."""


def text(report: CheckReport, *, verbose: bool = False) -> str:
    """Return the report as indented SARIF."""
    seen: Counter[str] = Counter()
    told = (*report.findings, *report.notes) if verbose else report.findings
    run = {
        "tool": {"driver": _driver()},
        "invocations": [
            {
                "executionSuccessful": not report.problems,
                "exitCode": report.exit_status,
                "toolExecutionNotifications": [
                    *(_notification(one, "error") for one in report.problems),
                    *(_notification(one, "warning") for one in report.warnings),
                ],
            }
        ],
        "results": [_result(one, seen) for one in told],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _driver() -> dict[str, Any]:
    rules = [_descriptor(rule.name, rule.summary, rule.explanation, rule.default) for rule in RULES]
    others = [
        _descriptor(UNREADABLE_OBJECT, "an object can't be read", _UNREADABLE_WHY, Action.REJECT),
        _descriptor(INVALID_POLICY, "a policy has a mistake", _INVALID_WHY, Action.REJECT),
    ]
    return {"name": "tokenguard", "version": version("tokenguard"), "rules": [*rules, *others]}


_INDEX = {name: index for index, name in enumerate([*(rule.name for rule in RULES), UNREADABLE_OBJECT, INVALID_POLICY])}


def _descriptor(name: str, summary: str, explanation: str, default: Action) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": {"text": summary},
        "fullDescription": {"text": explanation},
        "help": {"text": explanation},
        "defaultConfiguration": {"level": _LEVELS[default], "enabled": default is not Action.OFF},
    }


def _result(told: CheckFinding, seen: Counter[str]) -> dict[str, Any]:
    what = f"{told.kind}/{told.name}" if told.name else told.kind
    return {
        "ruleId": told.rule,
        "ruleIndex": _INDEX[told.rule],
        "level": _LEVELS[told.action],
        "message": {"text": f"{what}: {told.place} {told.detail}" if told.place else f"{what}: {told.detail}"},
        "locations": [
            {
                "physicalLocation": _physical(told.path, told.line),
                "logicalLocations": [{"fullyQualifiedName": f"{what} {told.place}".strip(), "kind": "member"}],
            }
        ],
        "partialFingerprints": {"tokenguard/v1": _fingerprint(told, seen)},
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


def _fingerprint(told: CheckFinding, seen: Counter[str]) -> str:
    """Return what tells a finding from all others but stays the same when lines above it come or go."""
    parts = (told.rule, uri(told.path), told.kind, told.namespace, told.name, told.place)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    seen[digest] += 1
    return f"{digest}:{seen[digest]}"
