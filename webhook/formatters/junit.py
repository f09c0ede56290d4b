"""Test results as JUnit XML, which the user interfaces of CI systems show."""

from collections.abc import Iterable, Iterator
from html import escape
from typing import NamedTuple

from webhook.check.input_files import InputProblem
from webhook.core.formatting import plain


class Result(NamedTuple):
    """What a test case has besides its name: `failure`, `error`, `skipped` or `system-out`; `lines` are its text."""

    kind: str
    message: str
    lines: tuple[str, ...] = ()
    type: str = ""


class Case(NamedTuple):
    """One test case; it passes if its results are neither failure, error nor skipped."""

    name: str
    results: tuple[Result, ...] = ()

    def has(self, kind: str) -> bool:
        """Return whether it has a result of this kind."""
        return any(result.kind == kind for result in self.results)


def problem_name(problem: InputProblem) -> str:
    """Return the name of a test case for what has none: `web.yaml: document 2, line 14`."""
    place = ", ".join(f"{word} {n}" for word, n in (("document", problem.document), ("line", problem.line)) if n)
    return ": ".join(filter(None, (problem.file, place)))


def junit(name: str, suites: Iterable[tuple[str, list[Case]]]) -> Iterator[str]:
    """Yield a document with a suite for each name and its cases."""
    listed = list(suites)
    yield '<?xml version="1.0" encoding="utf-8"?>\n'
    yield f"<testsuites{_attributes(name=name, **_counts([case for _, cases in listed for case in cases]))}>\n"
    for suite, cases in listed:
        yield f"  <testsuite{_attributes(name=suite, **_counts(cases))}>\n"
        for case in cases:
            yield from _case(suite, case)
        yield "  </testsuite>\n"
    yield "</testsuites>\n"


def _case(suite: str, case: Case) -> Iterator[str]:
    head = f"    <testcase{_attributes(classname=suite, name=case.name)}"
    if not case.results:
        yield f"{head}/>\n"
        return
    yield f"{head}>\n"
    for result in case.results:
        attributes = {"message": result.message, "type": result.type} if result.kind != "system-out" else {}
        text = "\n".join(escape(plain(line)) for line in result.lines)
        yield f"      <{result.kind}{_attributes(**attributes)}>{text}</{result.kind}>\n"
    yield "    </testcase>\n"


def _counts(cases: list[Case]) -> dict[str, str]:
    kinds = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    return {"tests": str(len(cases))} | {
        name: str(sum(case.has(kind) for case in cases)) for name, kind in kinds.items()
    }


def _attributes(**values: str) -> str:
    return "".join(f' {name}="{escape(plain(value))}"' for name, value in values.items() if value)
