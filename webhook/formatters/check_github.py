"""A check as workflow commands of GitHub Actions: annotations at the lines of a change, and the summary in the log.

Source of the escapes: `escapeData` and `escapeProperty` in actions/toolkit, packages/core/src/command.ts; of the limit:
docs/problem-matchers.md there.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from webhook.check.input_files import STDIN, InputProblem, displayed
from webhook.check.report import OUTCOMES, CheckFinding, CheckReport
from webhook.core.formatting import counted, plain
from webhook.core.policy.model import Action
from webhook.core.safe_output import safe_text
from webhook.formatters.check_lines import finding_word
from webhook.formatters.check_summary import summary_lines
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions

MAX_ANNOTATIONS = 10
"""How many annotations of each kind GitHub shows of one step."""
_KINDS = {Action.REJECT: "error", Action.PATCH: "warning", Action.WARN: "warning"}
_NOTICE = "notice"


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the annotations that GitHub shows, the most severe first, how many there are more, and the summary."""
    counts: Counter[str] = Counter()
    for kind, command in _commands(report, options):
        counts[kind] += 1
        if counts[kind] <= MAX_ANNOTATIONS:
            yield f"{command}\n"
    for kind, count in counts.items():
        if count > MAX_ANNOTATIONS:
            yield f"{counted(count - MAX_ANNOTATIONS, f'more {kind}')}: GitHub shows {MAX_ANNOTATIONS} of each kind\n"
    for line in summary_lines(report, options):
        yield f"{safe_text(line)}\n"


def _commands(report: CheckReport, options: FormatOptions) -> Iterator[tuple[str, str]]:
    yield from (_problem(problem, "error") for problem in report.problems)
    strength = [*OUTCOMES]
    findings = report.shown_findings(verbose=options.verbose)
    yield from map(
        _finding, sorted(findings, key=lambda each: strength.index(each.action) if each.action in strength else 9)
    )
    yield from (_problem(warning, "warning") for warning in report.warnings)


def _finding(finding: CheckFinding) -> tuple[str, str]:
    found, excerpt = finding.evaluation, finding.excerpt
    kind = _KINDS.get(finding.action, _NOTICE)
    properties = {"file": _path(found.file_path), "line": str(finding.line)}
    if excerpt:
        properties |= {"col": str(excerpt.column), "endColumn": str(excerpt.end_column)}
    properties["title"] = f"{finding_word(finding)}: {finding.rule}"
    place = f"{finding.path} " if finding.path else ""
    return kind, _command(kind, properties, f"{found.title}: {place}{finding.detail}")


def _problem(problem: InputProblem, kind: str) -> tuple[str, str]:
    properties = {"file": _path(problem.path), "line": str(problem.line or ""), "title": "tokenguard"}
    return kind, _command(kind, properties, problem.message)


def _command(kind: str, properties: dict[str, str], message: str) -> str:
    shown = ",".join(f"{name}={_escaped_property(value)}" for name, value in properties.items() if value)
    return f"::{kind} {shown}::{_escaped(message)}"


def _path(path: str) -> str:
    """Return a path as annotations name it: relative to the root of the repository; empty for standard input."""
    if path == STDIN:
        return ""
    root = os.environ.get("GITHUB_WORKSPACE")
    full = Path(os.path.normpath(Path.cwd() / path))
    return displayed(str(full.relative_to(root)) if root and full.is_relative_to(root) else path)


def _escaped(text: str) -> str:
    return plain(text).replace("%", "%25")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
