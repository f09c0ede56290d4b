"""A check as SARIF 2.1.0, which code hosts show beside the lines of a change."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from webhook.check.input_files import InputProblem, uri
from webhook.check.other_findings import EXPLANATIONS, UNREADABLE_OBJECT
from webhook.check.report import CheckFinding, CheckReport
from webhook.core.decision import INVALID_POLICY
from webhook.core.policy.model import Action
from webhook.core.rules import RULES
from webhook.formatters.check_lines import missing_secret_line
from webhook.formatters.check_summary import enforce_lines, policy_line
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Action.REJECT: "error",
    Action.PATCH: "warning",
    Action.WARN: "warning",
    Action.AUDIT: "note",
    Action.OFF: "none",
}
_DOCS = "https://kubernetes.io/docs"
_PROJECTION = (
    "/tasks/configure-pod-container/configure-service-account/#launch-a-pod-using-service-account-token-projection"
)
_TOKEN_REQUEST = "/reference/kubernetes-api/authentication-resources/token-request-v1/"  # noqa: S105 - a page
_LEGACY = "/concepts/configuration/secret/#serviceaccount-token-secrets"


class _Shown(NamedTuple):
    """How a rule is shown: its title, the page of Kubernetes about it, and its severity from 0 to 10.

    GitHub calls a severity of 9 critical, of 7 high, of 4 medium, and less low.
    """

    title: str
    page: str
    severity: str


SHOWN: Mapping[str, _Shown] = {
    "legacy-token-reference": _Shown("Pod uses a service account token that never expires", _LEGACY, "8.8"),
    "legacy-token-secret": _Shown("Secret holds a service account token that never expires", _LEGACY, "8.8"),
    "token-expiration": _Shown("Service account token is valid too long", _PROJECTION, "5.5"),
    "token-audience": _Shown("Service account token is not issued for an allowed audience", _PROJECTION, "6.5"),
    "token-subpath": _Shown(
        "Service account token is mounted by subPath and never refreshed",
        "/concepts/storage/volumes/#using-subpath",
        "3.0",
    ),
    "kubelet-hostpath": _Shown(
        "Volume of type hostPath exposes the tokens of other pods", "/concepts/storage/volumes/#hostpath", "8.0"
    ),
    "api-token-automount": _Shown(
        "Pod gets a token for the API server that it did not ask for",
        "/tasks/configure-pod-container/configure-service-account/#opt-out-of-api-credential-automounting",
        "5.0",
    ),
    "token-request-expiration": _Shown("Requested token is valid too long", _TOKEN_REQUEST, "5.5"),
    "token-request-audience": _Shown("Requested token is not issued for an allowed audience", _TOKEN_REQUEST, "6.5"),
    "token-request-binding": _Shown("Requested token is bound to no object", _TOKEN_REQUEST, "4.0"),
    "inject": _Shown("Token cannot be injected as the policy says", _PROJECTION, "3.0"),
    UNREADABLE_OBJECT: _Shown("Object cannot be evaluated", "/concepts/overview/working-with-objects/", "3.0"),
    INVALID_POLICY: _Shown("Policy is invalid", "/concepts/configuration/configmap/", "7.0"),
}


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as indented SARIF."""
    seen: Counter[str] = Counter()
    run = {
        "tool": {"driver": _driver()},
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": "tokenguard/check/"},
        "invocations": [
            {
                "executionSuccessful": not report.problems,
                "exitCode": report.exit_status,
                "toolExecutionNotifications": [
                    *(_notification(problem, "error") for problem in report.problems),
                    *(_notification(warning, "warning") for warning in report.warnings),
                    *_notes(report),
                ],
            }
        ],
        "properties": {"policy": policy_line(report.policy).removeprefix("policy: ")},
        "results": [_result(finding, seen) for finding in report.shown_findings(verbose=options.verbose)],
    }
    yield format_json({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _driver() -> dict[str, Any]:
    rules = [_descriptor(rule.name, rule.summary, rule.explanation, rule.default) for rule in RULES]
    others = [_descriptor(name, *texts, Action.REJECT) for name, texts in EXPLANATIONS.items()]
    number = version("tokenguard-webhook")
    return {"name": "tokenguard", "version": number, "semanticVersion": number, "rules": [*rules, *others]}


_INDEX = {name: index for index, name in enumerate([*(rule.name for rule in RULES), *EXPLANATIONS])}


def _descriptor(name: str, summary: str, explanation: str, default: Action) -> dict[str, Any]:
    shown = SHOWN[name]
    link = f"{_DOCS}{shown.page}"
    return {
        "id": name,
        "name": re.sub(r"(?:^|-)(\w)", lambda match: match[1].upper(), name),
        "shortDescription": {"text": shown.title},
        "fullDescription": {"text": f"{summary[0].upper()}{summary[1:]}."},
        "helpUri": link,
        "help": {
            "text": f"{explanation}\n\nMore: tokenguard rules {name}; {link}",
            "markdown": f"{explanation}\n\nMore: `tokenguard rules {name}`; [Kubernetes' documentation]({link})",
        },
        "defaultConfiguration": {"level": _LEVELS[default], "enabled": default is not Action.OFF},
        "properties": {
            "precision": "very-high",
            "security-severity": shown.severity,
            "tags": ["security", "kubernetes", "service-account-token"],
        },
    }


def _result(finding: CheckFinding, seen: Counter[str]) -> dict[str, Any]:
    title = finding.evaluation.source_title
    columns = {}
    if finding.excerpt:
        columns = {"startColumn": finding.excerpt.column, "endColumn": finding.excerpt.end_column}
    return {
        "ruleId": finding.rule,
        "ruleIndex": _INDEX[finding.rule],
        "level": _LEVELS[finding.action if finding.counts else Action.AUDIT],
        "message": {"text": f"{title}: {finding.detail}"},
        "locations": [
            {
                "physicalLocation": _physical(finding.evaluation.file_path, finding.line, columns),
                "logicalLocations": [{"fullyQualifiedName": f"{title} {finding.path}".rstrip(), "kind": "member"}],
            }
        ],
        "partialFingerprints": {"tokenguard/v1": _fingerprint(finding, seen)},
    }


def _notification(problem: InputProblem, level: str) -> dict[str, Any]:
    columns = {"startColumn": problem.column} if problem.column else {}
    return {
        "level": level,
        "message": {"text": problem.message},
        "locations": [{"physicalLocation": _physical(problem.path, problem.line, columns)}],
    }


def _notes(report: CheckReport) -> Iterator[dict[str, Any]]:
    """Yield what the findings alone do not show: the mode, and Secrets that no file has."""
    yield from ({"level": "note", "message": {"text": line}} for line in enforce_lines(report))
    for name, users in report.missing_secrets.items():
        places = [{"physicalLocation": _physical(user.file_path, user.manifest.line, {})} for user in users]
        yield {"level": "note", "message": {"text": missing_secret_line(name)}, "locations": places}


def _physical(path: str, line: int | None, columns: dict[str, int]) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": uri(path)}}
    return location | {"region": {"startLine": line} | columns} if line else location


def _fingerprint(finding: CheckFinding, seen: Counter[str]) -> str:
    """Return a value that identifies a finding and does not change when lines above it do.

    Its name is not `primaryLocationLineHash`: GitHub's upload action computes that from the file, and warns of another.
    """
    evaluation = finding.evaluation
    kind, name = evaluation.manifest.kind, evaluation.manifest.name
    parts = (finding.rule, uri(evaluation.file_path), kind, evaluation.namespace, name, finding.path)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    seen[digest] += 1
    return f"{digest}:{seen[digest]}"
