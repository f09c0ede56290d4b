"""Validates the policies in files: what `policy validate` reports. Prints nothing."""

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from webhook.check.case_documents import has_cases, is_case, read_documents
from webhook.check.input_files import InputFile, InputProblem, SkippedPath, displayed, read
from webhook.core.documents.stream import decode_text
from webhook.core.policy.errors import PolicyError
from webhook.core.policy.loader import NO_POLICY, is_policy, lint_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.schema import API_VERSION, KIND

_POLICY = re.compile(rf"\b(?:{KIND}\b|{API_VERSION.partition('/')[0]}/)")
_HEAD = re.compile(rf"^\s*[\"']?kind[\"']?\s*:\s*[\"']?{KIND}\b", re.MULTILINE)
_ONLY_CASES = "contains no policy, but test cases; run them with 'tokenguard policy test'"


@dataclass(frozen=True, slots=True)
class ValidatedPolicy:
    """A policy's file, its revision if it is valid, and what is wrong or has no effect."""

    path: str
    revision: str
    errors: tuple[PolicyError, ...]
    warnings: tuple[PolicyError, ...]

    @property
    def file(self) -> str:
        """The file's path as text."""
        return displayed(self.path)


@dataclass(slots=True)
class PolicyValidationReport:
    """The policies in the order of the files; `problems` are files that cannot be read, or that contain no policy."""

    policies: list[ValidatedPolicy] = field(default_factory=list)
    problems: list[InputProblem] = field(default_factory=list)

    @property
    def invalid(self) -> int:
        """The number of invalid policies."""
        return sum(bool(policy.errors) for policy in self.policies)

    def exit_status(self, *, strict: bool) -> int:
        """Return 0 if all policies are valid (with `strict`: and without warnings), else 1; 2 if there are problems."""
        return 2 if self.problems else int(any(each.errors or (strict and each.warnings) for each in self.policies))


def validate_policies(
    sources: Iterable[InputFile | InputProblem | SkippedPath], *, now: dt.datetime, stdin: BinaryIO
) -> PolicyValidationReport:
    """Validate the policies in the files at this time (aware). Files in folders without a policy are skipped."""
    report = PolicyValidationReport()
    folders: dict[str, bool] = {}  # and whether they contain a policy
    for source in sources:
        if isinstance(source, SkippedPath):
            continue
        data = source if isinstance(source, InputProblem) else read(source, stdin)
        if isinstance(source, InputProblem) or isinstance(data, InputProblem):
            report.problems += [data] if isinstance(data, InputProblem) else []
            continue
        text = decode_text(data)
        is_found = _has_policy(text)
        if not source.named:
            folders[source.root] = folders.get(source.root, False) or is_found
        if source.named and not is_found and has_cases(text):
            report.problems.append(InputProblem(source.path, _ONLY_CASES))
        elif source.named or is_found:
            policy, warnings = lint_policy(data, now)
            if policy == (NO_POLICY,):
                report.problems.append(InputProblem(source.path, NO_POLICY.message))
                continue
            revision, errors = (policy.revision, ()) if isinstance(policy, Policy) else ("", policy)
            report.policies.append(ValidatedPolicy(source.path, revision, errors, warnings))
    report.problems += (
        InputProblem(folder, f"contains no document of kind {KIND}")
        for folder, is_found in folders.items()
        if not is_found
    )
    return report


def _has_policy(text: str) -> bool:
    """Return whether a document of a file is a policy or a ConfigMap with one; one that cannot be read looks like one.

    A policy inside another document, such as a test case, is none.
    """
    if not _POLICY.search(text):
        return False
    results = list(read_documents("", text))
    values = [result[1] for result in results if not isinstance(result, InputProblem)]
    if any(is_policy(value) and not is_case(value) for value in values):
        return True
    return len(values) < len(results) and bool(_HEAD.search(text)) and not has_cases(text)


def policy_problems(path: str, errors: Iterable[PolicyError]) -> list[InputProblem]:
    """Return the errors or warnings of a policy as problems of its file."""
    return [
        InputProblem(path, f"{error.path}: {error.message}".removeprefix(": "), error.line, column=error.column or None)
        for error in errors
    ]
