"""Runs the test cases of policies that are in files: what `policy test` reports. Prints nothing."""

import datetime as dt
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from webhook.check.case_differences import Difference
from webhook.check.case_documents import CaseDocument, case_documents, has_cases
from webhook.check.input_files import STDIN, InputFile, InputProblem, SkippedPath, displayed, read
from webhook.check.policy_case import PolicyCase, build_case
from webhook.check.policy_validation import policy_problems
from webhook.check.report import NamespacedName
from webhook.core.documents.stream import decode_text
from webhook.core.formatting import quote
from webhook.core.policy.errors import ErrorCollector, PolicyError
from webhook.core.policy.loader import lint_policy
from webhook.core.policy.model import Policy

_EXPECTED = "a file with test cases has documents with the key case"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What a case showed: it passed if it has no failure. `missing_secrets` are used, but not in its cluster.

    `is_default_expected` is whether the case does not say which decision it expects.
    """

    path: str
    line: int
    name: str
    failures: tuple[Difference, ...]
    missing_secrets: tuple[NamespacedName, ...] = ()
    is_default_expected: bool = False

    @property
    def file(self) -> str:
        """The file's path as text."""
        return displayed(self.path)


@dataclass(frozen=True, slots=True)
class UnrunCase:
    """A case that cannot be run, and all that is wrong with it."""

    path: str
    line: int
    name: str
    problems: tuple[InputProblem, ...]

    @property
    def file(self) -> str:
        """The file's path as text."""
        return displayed(self.path)


@dataclass(slots=True)
class PolicyTestReport:
    """The results in the order of the files.

    `problems` are all errors, each once: of the cases in `unrun`, and others. `skipped` are files without a case,
    `not_selected` cases with other names.
    """

    results: list[CaseResult] = field(default_factory=list)
    unrun: list[UnrunCase] = field(default_factory=list)
    problems: list[InputProblem] = field(default_factory=list)
    warnings: list[InputProblem] = field(default_factory=list)
    skipped: list[InputProblem] = field(default_factory=list)
    not_selected: list["NotSelected"] = field(default_factory=list)

    @property
    def failed(self) -> list[CaseResult]:
        """The cases that failed."""
        return [result for result in self.results if result.failures]

    @property
    def other_problems(self) -> list[InputProblem]:
        """The errors that belong to no case with a name."""
        of_cases = {problem for case in self.unrun for problem in case.problems}
        return [problem for problem in self.problems if problem not in of_cases]

    @property
    def exit_status(self) -> int:
        """0 if all cases passed, 1 if one failed, 2 if one could not be run."""
        return 2 if self.problems or self.unrun else int(bool(self.failed))


def run_policy_tests(  # noqa: PLR0913 - options of the command
    sources: Iterable[InputFile | InputProblem | SkippedPath],
    default: Policy,
    *,
    now: dt.datetime,
    stdin: BinaryIO,
    names: Sequence[str] = (),
    warnings: Iterable[InputProblem] = (),
) -> PolicyTestReport:
    """Run the cases in files. `default` is the policy of cases that name none, `now` (aware) their time.

    `warnings` are about `default`. With `names`, only cases whose name contains one of them, in upper or lower case,
    are read and run.
    """
    report = PolicyTestReport()
    files = PolicyFiles()
    wanted = tuple(name.casefold() for name in names)
    for source in sources:
        if isinstance(source, InputFile):
            _run_file(source, report, _Run(default, now, files, wanted), stdin)
        elif isinstance(source, InputProblem):
            report.problems.append(source)
    if not (report.results or report.problems):
        message = f"contains no test case; {_EXPECTED}"
        if report.not_selected:
            message = f"has no case whose name contains {' or '.join(map(quote, names))}"
        where = ", ".join(sorted({file.path for file in report.not_selected or report.skipped}))
        report.problems.append(InputProblem(where, message))
    given = [*warnings]
    report.warnings += given
    report.warnings += (warning for warning in files.warnings(now) if warning not in given)
    return report


class NotSelected(NamedTuple):
    """A case in this file whose name is not selected."""

    path: str
    name: str


class _Run(NamedTuple):
    """What all files of a run have in common."""

    default: Policy
    now: dt.datetime
    files: "PolicyFiles"
    names: tuple[str, ...]

    def selects(self, name: Any) -> bool:
        """Return whether to run a case of this name; one whose name is not text is an error."""
        return not (self.names and isinstance(name, str)) or any(part in name.casefold() for part in self.names)


def _run_file(source: InputFile, report: PolicyTestReport, run: _Run, stdin: BinaryIO) -> None:
    """Add the results of the cases in a file."""
    data = read(source, stdin)
    if isinstance(data, InputProblem):
        report.problems.append(data)
        return
    text = decode_text(data)
    if not has_cases(text):
        (report.problems if source.named else report.skipped).append(
            InputProblem(source.path, f"contains no test case; {_EXPECTED}")
        )
        return
    known: set[tuple[str, int | None]] = set()  # also errors in settings, which several cases have
    warned: set[InputProblem] = set()  # also about policies in settings
    lines: dict[str, int] = {}
    for result in read_cases(source.path, text, run):
        if isinstance(result, NotSelected):
            report.not_selected.append(result)
        elif isinstance(result, InputProblem):
            report.problems.append(result)
        elif isinstance(result, UnrunCase):
            _add_name(report, lines, source.path, result.name, result.line)
            report.unrun.append(result)
            report.problems += (problem for problem in result.problems if (problem.message, problem.line) not in known)
            known |= {(problem.message, problem.line) for problem in result.problems}
        else:
            case, line, warnings = result
            failures, missing = tuple(case.failures()), tuple(case.missing_secrets)
            report.warnings += (warning for warning in warnings if warning not in warned)
            warned.update(warnings)
            name, is_default = case.settings.case, case.is_default_expected
            _add_name(report, lines, source.path, name, line)
            report.results.append(CaseResult(source.path, line, name, failures, missing, is_default))


def _add_name(report: PolicyTestReport, lines: dict[str, int], path: str, name: str, line: int) -> None:
    """Add the line of a case to those of its file, and a warning if another one has its name."""
    if first := lines.get(name):
        message = f"the case {quote(name)} in line {first} has the same name; rename one of them"
        report.warnings.append(InputProblem(path, message, line))
    lines.setdefault(name, line)


def read_cases(
    path: str, text: str, run: _Run
) -> Iterator[tuple[PolicyCase, int, list[InputProblem]] | UnrunCase | InputProblem | NotSelected]:
    """Yield the cases in a file, each with its line and the warnings about its policy, and what is wrong with them.

    A document without the key `case` has settings for the cases below it.
    """
    for result in case_documents(path, text):
        if isinstance(result, InputProblem):
            yield result
            continue
        document, value = result
        if not run.selects(value["case"]):
            yield NotSelected(path, value["case"])
            continue
        errors = ErrorCollector(document.place_of)
        for warning in document.warnings:  # what is meant is unknown
            errors.add(warning.path, warning.message, place=(warning.line, warning.column))
        case = build_case(value, run.files.reader(path), run.default, run.now, errors)
        line = document.line_of("/case")
        if case:
            at = document.line_of("/policy")
            warnings = [
                InputProblem(path, f"policy.{warning.path}: {warning.message}", at)
                for warning in case.policy_warnings(run.now)
            ]
            yield case, line, warnings
        else:
            problems = tuple(_problem(path, error, document) for error in errors.sorted())
            yield UnrunCase(path, line, str(value["case"]), problems)


def _problem(path: str, error: PolicyError, document: CaseDocument) -> InputProblem:
    return InputProblem(
        path, f"{error.path}: {error.message}".removeprefix(": "), error.line, document.number, error.column or None
    )


class PolicyFiles:
    """The files that cases name, relative to the file of the case; each is read once."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes | InputProblem] = {}

    def warnings(self, now: dt.datetime) -> Iterator[InputProblem]:
        """Yield what has no effect in the policies among them, at this time (aware)."""
        for path, data in self._contents.items():
            if isinstance(data, bytes):
                yield from policy_problems(path, lint_policy(data, now)[1])

    def content(self, path: str) -> bytes:
        """Return the content of a file. Raises `ValueError`."""
        if path not in self._contents:
            self._contents[path] = read(InputFile(path), io.BytesIO())
        data = self._contents[path]
        if isinstance(data, InputProblem):
            raise ValueError(data.message)  # noqa: TRY004 - it is no type that is wrong
        return data

    def reader(self, path: str) -> "_Reader":
        """Return what reads the files that cases in this file name."""
        return _Reader(self, Path() if path == STDIN else Path(path).parent)


@dataclass(frozen=True, slots=True)
class _Reader:
    files: PolicyFiles
    folder: Path

    def __call__(self, name: str) -> bytes:
        return self.files.content(os.path.normpath(self.folder / name))
