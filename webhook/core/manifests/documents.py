"""What is common to documents of manifests, whether they are written as YAML or as JSON."""

from dataclasses import dataclass
from typing import Any, Protocol

MOST_DEPTH = 200
"""How deep a document may nest: deeper than any Kubernetes object, and far from the end of any stack."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document, or an object in it, could not be taken; `line` and `document` count from one.

    `foreign` marks what doesn't pretend to be a Kubernetes object, such as the values of a Helm chart.
    """

    line: int
    message: str
    document: int
    foreign: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


class DocumentError(ValueError):
    """A document that can't be read, and the line (from one) where that shows. Never leaves the core."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class Document(Protocol):
    """One document of a file: where its parts stand, and what it says."""

    @property
    def number(self) -> int:
        """Which of the file's documents it is, from one."""

    @property
    def text(self) -> str | None:
        """The document as it was written, comments and all; None where that isn't YAML."""

    def line_of(self, pointer: str) -> int:
        """Return the line (from one) of what a JSON Pointer names, or of its nearest parent that is there."""

    def line_in(self, pointer: str, line: int) -> int:
        """Return the line of a line (from one) of the text that a pointer names, or else the text's."""

    def value(self) -> Any:
        """Return what the document says, as dicts, lists and scalars of its own, for the caller to change."""
