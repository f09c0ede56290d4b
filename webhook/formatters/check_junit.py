"""A check as JUnit XML: a suite for each file, and a test case for each object."""

from collections.abc import Iterator

from webhook.check.report import CheckFinding, CheckReport
from webhook.core.formatting import counted
from webhook.formatters.check_lines import finding_line, missing_secret_line, problem_line
from webhook.formatters.check_summary import policy_line
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.junit import Case, Result, junit, problem_name


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the document: with a failure for each finding and warning that makes the run fail.

    Other findings are output of their test case, and other warnings are left out.
    """
    suites: dict[str, list[Case]] = {}
    for problem in report.problems:
        result = Result("error", problem.message, (problem_line(problem),), "unreadable")
        title = f" ({problem.title})" if problem.title else ""
        suites.setdefault(problem.file, []).append(Case(problem_name(problem) + title, (result,)))
    for warning in report.warnings if report.warnings_fail else ():
        result = Result("failure", warning.message, (problem_line(warning, "warning"),), "warning")
        case = Case(problem_name(warning), (result,))
        suites.setdefault(warning.file, []).append(case)
    findings: dict[int, list[CheckFinding]] = {}
    for finding in report.shown_findings(verbose=options.verbose):
        findings.setdefault(id(finding.evaluation), []).append(finding)
    missing: dict[int, list[str]] = {}
    for secret, users in report.missing_secrets.items():
        for user in users:
            missing.setdefault(id(user), []).append(missing_secret_line(secret))
    for evaluation in report.evaluations:
        if evaluation.is_evaluated:
            key = id(evaluation)
            results = tuple(_results(report, findings.get(key, []), missing.get(key, [])))
            suites.setdefault(evaluation.file, []).append(Case(evaluation.full_title, results))
    for document in report.not_evaluated:
        skipped = Result("skipped", f"{document.reason}: {document.problem.message}")
        case = Case(document.name or problem_name(document.problem), (skipped,))
        suites.setdefault(document.problem.file, []).append(case)
    yield from junit(f"tokenguard, {policy_line(report.policy)}", suites.items())


def _results(report: CheckReport, findings: list[CheckFinding], notes: list[str]) -> Iterator[Result]:
    failing = sorted(filter(report.fails, findings), key=lambda finding: finding.rank)
    others = [*(finding_line(finding) for finding in findings if not report.fails(finding)), *notes]
    if failing:
        more = f" (and {counted(len(failing) - 1, 'more finding')})" if len(failing) > 1 else ""
        yield Result("failure", f"{failing[0].statement}{more}", tuple(map(finding_line, failing)), failing[0].rule)
    if others:
        yield Result("system-out", "", tuple(others))
