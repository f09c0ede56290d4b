"""A check as workflow commands of GitHub Actions: annotations at the lines of a change, and the summary in the log."""

from collections.abc import Iterator

from webhook.check.report import CheckFinding, CheckReport
from webhook.core.policy.model import Action
from webhook.core.safe_output import safe_text
from webhook.formatters.check_lines import finding_line, finding_word
from webhook.formatters.check_summary import summary_lines
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.github_annotations import Annotation, annotation, annotation_lines, problem_annotation

_KINDS = {Action.REJECT: "error", Action.PATCH: "warning", Action.WARN: "warning"}
_NOTICE = "notice"


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the annotations, the most severe first, as plain lines those that GitHub does not show, and the summary."""
    yield from annotation_lines(_annotations(report, options))
    for line in summary_lines(report, options):
        yield f"{safe_text(line)}\n"


def _annotations(report: CheckReport, options: FormatOptions) -> Iterator[Annotation]:
    yield from map(problem_annotation, report.problems)
    findings = report.shown_findings(verbose=options.verbose)
    yield from map(_finding, sorted(findings, key=lambda finding: finding.rank))
    yield from (problem_annotation(warning, "warning") for warning in report.warnings)


def _finding(finding: CheckFinding) -> Annotation:
    evaluation, excerpt = finding.evaluation, finding.excerpt
    properties: dict[str, object] = {"line": finding.line}
    if excerpt:
        properties |= {"col": excerpt.column, "endColumn": excerpt.end_column}
    properties["title"] = f"{finding_word(finding)}: {finding.rule}"
    message = f"{evaluation.source_title}: {finding.detail}"
    return annotation(
        _KINDS[finding.action] if finding.counts else _NOTICE,
        evaluation.file_path,
        properties,
        message.replace("\n", "\\n"),
        finding_line(finding),
    )
