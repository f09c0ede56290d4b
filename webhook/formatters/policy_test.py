"""A run of a policy's test cases as text, JSON and JUnit XML."""

from collections.abc import Iterator

import click

from webhook.check.input_files import InputProblem
from webhook.check.policy_tests import CaseResult, PolicyTestReport
from webhook.core.formatting import counted, plain
from webhook.formatters.check_lines import problem_line
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json
from webhook.formatters.junit import Case, Result, junit

VERSION = 1


def format_text(report: PolicyTestReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield what could not be run, the failed cases, and how many there are; with `verbose` also those that passed."""
    colour = options.colour
    yield from (problem_line(problem, colour=colour) for problem in report.problems)
    yield from (problem_line(warning, "warning", colour=colour) for warning in report.warnings)
    for result in report.results:
        if result.failures or options.verbose:
            word, style = ("failed", "red") if result.failures else ("passed", "green")
            shown = click.style(word, fg=style, bold=True) if colour else word
            yield f"{plain(result.file)}:{result.line}: {shown}: {plain(result.name)}"
        for failure in result.failures:
            yield from (f"  {plain(line)}" for line in failure.splitlines())
    if options.verbose:
        yield from (problem_line(file, "note", "; skipped", colour=colour) for file in report.skipped)
    yield _summary(report)


def _summary(report: PolicyTestReport) -> str:
    failed = len(report.failed)
    counts = [f"{len(report.results) - failed} passed", f"{failed} failed"]
    if report.problems:
        counts.append(f"{counted(len(report.problems), 'error')}")
    files = len({result.path for result in report.results})
    return f"{counted(len(report.results), 'case')} in {counted(files, 'file')}: {', '.join(counts)}"


def format_json_report(report: PolicyTestReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as indented JSON, with the cases that passed."""
    yield format_json({
        "version": VERSION,
        "cases": [_case(result) for result in report.results],
        "summary": {
            "cases": len(report.results),
            "passed": len(report.results) - len(report.failed),
            "failed": len(report.failed),
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
        "failures": result.failures,
    }


def _problem(problem: InputProblem) -> dict[str, object]:
    return {"file": problem.file, "line": problem.line, "message": problem.message}


def format_junit_report(report: PolicyTestReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as JUnit XML: a suite for each file; what could not be run is an error."""
    suites: dict[str, list[Case]] = {}
    for problem in report.problems:
        name = f"line {problem.line}" if problem.line else "file"
        suites.setdefault(problem.file, []).append(Case(name, (Result("error", problem.message),)))
    for result in report.results:
        failures = tuple(
            Result("failure", lines[0], tuple(lines[1:])) for lines in map(str.splitlines, result.failures)
        )
        suites.setdefault(result.file, []).append(Case(result.name, failures))
    return junit("tokenguard policy test", suites.items())
