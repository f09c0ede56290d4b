"""What is common to documents of manifests, whether they are written as YAML or as JSON."""

from dataclasses import dataclass
from typing import Any, Protocol

MOST_DEPTH = 200
"""How deep a document may nest: deeper than any Kubernetes object, and far from the end of any stack."""

MAX_WARNINGS = 20
"""How many warnings about one document are stored."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document, or an object in it, could not be taken; `line` and `document` count from one.

    `foreign` marks what doesn't pretend to be a Kubernetes object, such as the values of a Helm chart, and `template`
    what is still to be rendered.
    """

    line: int
    message: str
    document: int
    foreign: bool = False
    template: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


class DocumentError(ValueError):
    """A document that can't be read, and the line (from one) where that shows. Never leaves the core.

    `final` says that no other parser would read it either.
    """

    def __init__(self, line: int, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.final = final


class DocumentWarnings:
    """Lines (from one) and messages about a document that can be read; only the first ones are stored."""

    def __init__(self) -> None:
        self._first: list[tuple[int, str]] = []
        self._more = 0

    def add(self, line: int, message: str) -> None:
        """Add a warning, or count it if there are many."""
        if len(self._first) < MAX_WARNINGS:
            self._first.append((line, message))
        else:
            self._more += 1

    def shown(self) -> tuple[tuple[int, str], ...]:
        """Return the warnings that are stored, and as the last one how many more there are."""
        more = ((self._first[-1][0], f"{self._more} more warnings like this below"),) if self._more else ()
        return (*self._first, *more)


class Document(Protocol):
    """One document of a file: where its parts stand, and what it says."""

    @property
    def number(self) -> int:
        """Which of the file's documents it is, from one."""

    @property
    def text(self) -> str | None:
        """The document as it was written, comments and all; None where that isn't YAML."""

    @property
    def warnings(self) -> tuple[tuple[int, str], ...]:
        """The lines (from one) that kubectl may read otherwise than their author means, and why."""

    def line_of(self, pointer: str) -> int:
        """Return the line (from one) of what a JSON Pointer names, or of its nearest parent that is there."""

    def line_in(self, pointer: str, line: int) -> int:
        """Return the line of a line (from one) of the text that a pointer names, or else the text's."""

    def value(self) -> Any:
        """Return what the document says, as dicts, lists and scalars of its own, for the caller to change."""
