"""Where the values of a document are: a tree, because whole paths would take far more memory than the document."""

from typing import Any

from webhook.core.json_patch import unescape


class Location:
    """Where a value is named: line and column, and the line of its `|` if it is a block scalar (all from 1).

    It contains the locations of the value's members or items. That of a whole document is the member "" of another one.
    """

    __slots__ = ("_parts", "block", "column", "line")

    def __init__(self, line: int, column: int = 1, block: int | None = None) -> None:
        self.line = line
        self.column = column
        self.block = block
        self._parts: Any = None

    def add(self, key: str | int, part: "Location") -> None:
        """Add the location of a member, in place of an earlier one, or of the next item."""
        if isinstance(key, int):
            self._parts = self._parts or []
            self._parts.append(part)
        else:
            self._parts = self._parts or {}
            self._parts[key] = part

    def find(self, pointer: str) -> tuple["Location", bool]:
        """Return what a JSON Pointer names and True, or its nearest existing parent and False."""
        location = self
        for token in pointer.split("/"):
            part = location._part(unescape(token))
            if part is None:
                return location, False
            location = part
        return location, True

    def _part(self, token: str) -> "Location | None":
        parts = self._parts
        if isinstance(parts, list):
            return parts[int(token)] if token.isdecimal() and int(token) < len(parts) else None
        return parts.get(token) if parts else None
