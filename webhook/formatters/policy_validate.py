"""The errors and warnings of policies as text, JSON and annotations of GitHub."""

from collections.abc import Iterator
from typing import Any

from webhook.check.input_files import InputProblem
from webhook.check.policy_validation import PolicyValidationReport, ValidatedPolicy, policy_problems
from webhook.core.formatting import counted, plain
from webhook.core.policy.errors import PolicyError
from webhook.core.safe_output import safe_text
from webhook.formatters.check_lines import problem_lines
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json
from webhook.formatters.github_annotations import annotation_lines, problem_annotation

VERSION = 1


def format_text(report: PolicyValidationReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the errors and warnings of each policy in the order of their lines, its result, and the total.

    What could not be read is not part of it: like other commands that need a file, `validate` prints that to stderr.
    """
    for policy in report.policies:
        for word, problem in _problems(policy):
            yield from problem_lines(problem, options, word)
        yield _result(policy, named=len(report.policies) > 1)
    yield from _total(report)


def _problems(policy: ValidatedPolicy) -> list[tuple[str, InputProblem]]:
    problems = [("error", problem) for problem in policy_problems(policy.path, policy.errors)]
    problems += [("warning", problem) for problem in policy_problems(policy.path, policy.warnings)]
    return sorted(problems, key=lambda each: each[1].line or 0)


def _result(policy: ValidatedPolicy, *, named: bool) -> str:
    words = [f"valid (revision {policy.revision})"] if policy.revision else []
    words += [counted(len(policy.errors), "error")] if policy.errors else []
    words += [counted(len(policy.warnings), "warning")] if policy.warnings else []
    result = ", ".join(words) if policy.revision else f"invalid: {', '.join(words)}"
    return f"{plain(policy.file)}: {result}" if named else result


def _total(report: PolicyValidationReport) -> Iterator[str]:
    if len(report.policies) > 1:
        total = len(report.policies)
        yield f"{total} policies: {total - report.invalid} valid, {report.invalid} invalid"


def format_json_report(report: PolicyValidationReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as indented JSON."""
    yield format_json({
        "version": VERSION,
        "policies": [
            {
                "file": policy.file,
                "valid": not policy.errors,
                "revision": policy.revision,
                "errors": [*map(_error, policy.errors)],
                "warnings": [*map(_error, policy.warnings)],
            }
            for policy in report.policies
        ],
        "problems": [{"file": problem.file, "message": problem.message} for problem in report.problems],
    })  # fmt: skip


def _error(error: PolicyError) -> dict[str, Any]:
    return {
        "line": error.line or None,
        "column": error.column or None,
        "path": error.path,
        "message": error.message,
    }


def format_github_report(report: PolicyValidationReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield an annotation for each error and warning, and the results."""
    problems = [(word, problem) for policy in report.policies for word, problem in _problems(policy)]
    problems = [*(("error", problem) for problem in report.problems), *sorted(problems, key=lambda each: each[0])]
    yield from annotation_lines(problem_annotation(problem, word) for word, problem in problems)
    for policy in report.policies:
        yield f"{safe_text(_result(policy, named=True))}\n"
    yield from (f"{line}\n" for line in _total(report))
