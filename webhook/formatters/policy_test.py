"""A run of a policy's test cases as text, JSON, JUnit XML and annotations of GitHub."""

from collections.abc import Iterator

import click

from webhook.check.input_files import InputProblem
from webhook.check.policy_tests import CaseResult, PolicyTestReport, UnrunCase
from webhook.core.formatting import counted, listing, plain
from webhook.core.safe_output import safe_text
from webhook.formatters.check_lines import problem_lines
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json
from webhook.formatters.github_annotations import Annotation, annotation, annotation_lines, problem_annotation
from webhook.formatters.junit import Case, Result, junit, problem_name
from webhook.formatters.wrapping import wrapped

VERSION = 2


def format_text(report: PolicyTestReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield what could not be run, the failed cases, and how many there are; with `verbose` also those that passed.

    A case that passed without a `decision`, perhaps only for lack of a Secret, is always shown.
    """
    for problem in report.problems:
        yield from problem_lines(problem, options)
    for warning in report.warnings:
        yield from problem_lines(warning, options, "warning")
    for result in report.results:
        may_lack_state = result.missing_secrets and result.is_default_expected
        if result.failures or options.verbose or may_lack_state:
            word, style = ("failed", "red") if result.failures else ("passed", "green")
            shown = click.style(word, fg=style, bold=True) if options.colour else word
            yield f"{shown}: {plain(result.file)}:{result.line}: {plain(result.name)}"
            for line in _lines(result):
                yield from wrapped(f"  {plain(line)}", options.width)
    if options.verbose:
        for file in report.skipped:
            yield from problem_lines(file, options, "note", "; skipped")
    yield _summary(report)


def _lines(result: CaseResult) -> list[str]:
    """Return the differences; what a difference lists is not repeated if an earlier one has it."""
    lines: list[str] = []
    for failure in result.failures:
        head, *listed = failure.text.splitlines()
        others = [line for line in listed if line not in lines]
        if len(others) < len(listed):
            head += " the lines above, and" if others else " the lines above"
        lines += [head, *others]
    if missing := [f"{namespace}/{name}" for namespace, name in result.missing_secrets]:
        secrets = "the Secret" if len(missing) == 1 else "the Secrets"
        lines.append(f"note: not in cluster, so not known as legacy tokens: {secrets} {listing(missing)}")
    return lines


def _summary(report: PolicyTestReport) -> str:
    failed = len(report.failed)
    counts = [f"{len(report.results) - failed} passed", f"{failed} failed"]
    if report.unrun:
        counts.append(f"{len(report.unrun)} cannot be run")
    if others := len(report.other_problems):
        counts.append(counted(others, "other error" if report.unrun else "error"))
    if report.not_selected:
        counts.append(f"{len(report.not_selected)} not selected")
    files = len({case.path for case in report.results} | {case.path for case in report.unrun})
    return (
        f"{counted(len(report.results) + len(report.unrun), 'case')} in {counted(files, 'file')}: {', '.join(counts)}"
    )


def format_json_report(report: PolicyTestReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as indented JSON, with the cases that passed, and those that cannot be run."""
    yield format_json({
        "version": VERSION,
        "cases": [_case(result) for result in report.results],
        "notRun": [
            {
                "file": case.file,
                "line": case.line,
                "case": case.name,
                "problems": [_problem(problem) for problem in case.problems],
            }
            for case in report.unrun
        ],
        "summary": {
            "cases": len(report.results) + len(report.unrun),
            "passed": len(report.results) - len(report.failed),
            "failed": len(report.failed),
            "notRun": len(report.unrun),
            "notSelected": len(report.not_selected),
        },
        "problems": [_problem(problem) for problem in report.problems],
        "warnings": [_problem(warning) for warning in report.warnings],
    })  # fmt: skip


def _case(result: CaseResult) -> dict[str, object]:
    return {
        "file": result.file,
        "line": result.line,
        "case": result.name,
        "passed": not result.failures,
        "missingSecrets": [{"namespace": namespace, "name": name} for namespace, name in result.missing_secrets],
        "differences": [
            {"key": each.key, "expected": each.expected, "got": each.got, "text": each.text} for each in result.failures
        ],
    }


def _problem(problem: InputProblem) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("file", "line", "column", "message")}


def format_junit_report(report: PolicyTestReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as JUnit XML: a suite for each file; what could not be run is an error."""
    suites: dict[str, list[Case]] = {}
    for problem in report.other_problems:
        case = Case(problem_name(problem), (Result("error", problem.message),))
        suites.setdefault(problem.file, []).append(case)
    for unrun in report.unrun:
        suites.setdefault(unrun.file, []).append(Case(unrun.name, (_unrun_result(unrun),)))
    for result in report.results:
        suites.setdefault(result.file, []).append(Case(result.name, tuple(_failure(result))))
    return junit("tokenguard policy test", suites.items())


def _unrun_result(case: UnrunCase) -> Result:
    """Return the one error of a case that cannot be run, with a line for each problem."""
    others = len(case.problems) - 1
    more = f" (and {counted(others, 'more error')})" if others else ""
    lines = tuple(f"line {problem.line}: {problem.message}" for problem in case.problems)
    return Result("error", f"{case.problems[0].message}{more}", lines)


def _failure(result: CaseResult) -> Iterator[Result]:
    """Yield the one failure of a case, if it failed: many readers of JUnit show only the first."""
    if not result.failures:
        return
    others = len(result.failures) - 1
    first = result.failures[0].text.splitlines()[0]
    more = f" (and {counted(others, 'more difference')})" if others else ""
    yield Result("failure", f"{first}{more}", tuple(_lines(result)), result.failures[0].key)


def format_github_report(report: PolicyTestReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield an annotation for each failed case and what could not be run, and the summary."""
    failed = map(_annotation, report.failed)
    warnings = (problem_annotation(warning, "warning") for warning in report.warnings)
    yield from annotation_lines([*map(problem_annotation, report.problems), *failed, *warnings])
    yield f"{safe_text(_summary(report))}\n"


def _annotation(result: CaseResult) -> Annotation:
    properties = {"line": result.line, "title": f"failed: {result.name}"}
    lines = _lines(result)
    line = plain(f"{result.file}:{result.line}: failed: {result.name}: {'; '.join(lines)}")
    return annotation("error", result.path, properties, "\n".join(lines), line)
