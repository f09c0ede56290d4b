"""What the readers of YAML and JSON share: limits, errors and warnings."""

from collections.abc import Iterable
from typing import NamedTuple

from webhook.core.json_patch import escape

Path = tuple[str | int, ...]
"""The keys and indexes that lead to a value of a document."""

MAX_DEPTH = 200
"""How many levels a manifest may nest: more than any Kubernetes object has, and far from the end of any stack."""
MAX_WARNINGS = 20
"""How many warnings about one document are stored."""


class DocumentError(ValueError):
    """A document that cannot be read, and the line and column (from 1; 0: unknown) where that shows.

    `final` is true if no other parser could read it either.
    """

    def __init__(self, line: int, message: str, *, column: int = 0, final: bool = False) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.message = message
        self.final = final


class DocumentWarning(NamedTuple):
    """Something in the value at a path that may not mean what its author intends."""

    line: int
    message: str
    path: Path = ()
    column: int = 0


class DocumentWarnings:
    """Collects the warnings about a document; only the first ones are stored."""

    def __init__(self) -> None:
        self._first: list[DocumentWarning] = []
        self._more = 0

    def add(self, line: int, message: str, path: Path = (), column: int = 0) -> None:
        """Add a warning, or count it if there are many."""
        if len(self._first) < MAX_WARNINGS:
            self._first.append(DocumentWarning(line, message, path, column))
        else:
            self._more += 1

    def all(self) -> tuple[DocumentWarning, ...]:
        """Return the stored warnings, and as the last one how many more there are."""
        if not self._more:
            return tuple(self._first)
        return (*self._first, DocumentWarning(self._first[-1].line, f"{self._more} more warnings like this below"))


def pointer_of(path: Iterable[str | int]) -> str:
    """Return a path as a JSON Pointer."""
    return "".join([f"/{escape(str(part))}" for part in path])


def duplicate_key(quoted_key: str) -> str:
    """Return the message about a key that its mapping already has."""
    return f"duplicate key {quoted_key}: only the last one counts; remove the others"
