"""One line a problem, or a finding in the form `FILE:LINE:COLUMN: ...` that editors can jump to."""

from collections.abc import Iterator

import click

from webhook.check.input_files import InputProblem
from webhook.check.report import OUTCOMES, CheckFinding, NamespacedName
from webhook.core.decision import Outcome
from webhook.core.formatting import plain
from webhook.formatters.formatter import FormatOptions
from webhook.formatters.wrapping import wrapped

NOTE = "note"
"""The word of a finding that does not count."""
_MAX_NAME = 100
_COLOURS = {
    "error": "red", Outcome.DENIED: "red", Outcome.PATCHED: "cyan", Outcome.WARNED: "yellow", "warning": "yellow",
    NOTE: "blue",
}  # fmt: skip


def problem_line(problem: InputProblem, word: str = "error", suffix: str = "") -> str:
    """Return the line about a file or document that could not be read."""
    place = [problem.file, *(str(number) for number in (problem.line, problem.column) if number)]
    return f"{word}: {plain(':'.join(place))}: {plain(problem.message)}{suffix}"


def problem_lines(
    problem: InputProblem, options: FormatOptions, word: str = "error", suffix: str = ""
) -> Iterator[str]:
    """Yield the same, coloured and wrapped at the width of a terminal."""
    first, *others = wrapped(problem_line(problem, word, suffix), options.width, 4)
    yield styled(word, colour=options.colour) + first.removeprefix(word)
    yield from others


def editor_line(problem: InputProblem, word: str = "error", *, colour: bool = False) -> str:
    """Return the same in the form that editors and `grep` expect: without a place if it is about a whole file."""
    place = f":{problem.line}:{problem.column or 1}" if problem.line else ""
    return f"{plain(problem.file)}{place}: {styled(word, colour=colour)}: {plain(problem.message)}"


def finding_line(finding: CheckFinding, *, colour: bool = False) -> str:
    """Return the line about a finding."""
    evaluation = finding.evaluation
    message = plain(finding.detail)
    word = styled(finding_word(finding), colour=colour)
    column = "" if finding.excerpt else ":1"
    return f"{location(finding)}{column}: {word}: {plain(evaluation.source_title)}: {finding.rule}: {message}"


def secret_name(name: NamespacedName) -> str:
    """Return `NAMESPACE/NAME`, or only the name if the namespace is unknown."""
    return plain("/".join(filter(None, name))[:_MAX_NAME])


def missing_secret_line(name: NamespacedName) -> str:
    """Return the line about a Secret that pods use and no file has."""
    return f"Secret {secret_name(name)} is not among the manifests: whether it is a long-lived token is unknown"


def location(finding: CheckFinding) -> str:
    """Return `FILE:LINE:COLUMN`, without the column if that is unknown."""
    column = f":{finding.excerpt.column}" if finding.excerpt else ""
    return f"{plain(finding.evaluation.file)}:{finding.line}{column}"


def finding_word(finding: CheckFinding) -> str:
    """Return what a finding means for its object: denied, patched, warned or note."""
    return OUTCOMES[finding.action] if finding.counts else NOTE


def styled(word: str, text: str = "", *, colour: bool) -> str:
    """Return a text in the colour of a word, by default the word itself."""
    return click.style(text or word, fg=_COLOURS.get(word), bold=True) if colour else text or word
