"""One line a problem, or a finding in the form `FILE:LINE:COLUMN: ...` that editors can jump to."""

import click

from webhook.check.input_files import InputProblem
from webhook.check.report import OUTCOMES, CheckFinding, NamespacedName
from webhook.core.decision import Outcome
from webhook.core.formatting import plain

NOTE = "note"
"""The word of a finding that does not count."""
_COLOURS = {
    "error": "red", Outcome.DENIED: "red", Outcome.PATCHED: "cyan", Outcome.WARNED: "yellow", "warning": "yellow",
    NOTE: "blue",
}  # fmt: skip


def problem_line(problem: InputProblem, word: str = "error", suffix: str = "", *, colour: bool = False) -> str:
    """Return the line about a file or document that could not be read."""
    return f"{styled(word, colour=colour)}: {_file_line(problem)}: {plain(problem.message)}{suffix}"


def editor_line(problem: InputProblem, word: str = "error", *, colour: bool = False) -> str:
    """Return the same in the form that editors and `grep` expect beside findings."""
    return f"{_file_line(problem)}: {styled(word, colour=colour)}: {plain(problem.message)}"


def _file_line(problem: InputProblem) -> str:
    return ":".join([plain(problem.file), *(str(number) for number in (problem.line, problem.column) if number)])


def finding_line(finding: CheckFinding, *, colour: bool = False) -> str:
    """Return the line about a finding."""
    evaluation = finding.evaluation
    message = plain(finding.detail)
    word = styled(finding_word(finding), colour=colour)
    return f"{location(finding)}: {word}: {plain(evaluation.title)}: {finding.rule}: {message}"


def missing_secret_line(name: NamespacedName) -> str:
    """Return the line about a Secret that pods use and no file has."""
    return f"Secret {plain('/'.join(name))} is not among the manifests: whether it is a long-lived token is unknown"


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
