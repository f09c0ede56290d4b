"""Documents written as JSON, one after the other, as kubectl reads and writes them."""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from math import isinf
from typing import Any, NoReturn

from webhook.core.documents.document import DocumentError, DocumentWarning, DocumentWarnings, duplicate_key
from webhook.core.formatting import quote
from webhook.core.json_patch import escape

_SPACE = re.compile(r"[ \t\r\n]*")
_INT64 = 2**63
NOT_JSON = "is not JSON: "


class _Piece:
    """The text that contains the documents; `first_line` counts from 1."""

    def __init__(self, text: str, first_line: int) -> None:
        self.text = text
        self._first_line = first_line
        self._newlines = [newline.start() for newline in re.finditer("\n", text)]

    def line_at(self, position: int) -> int:
        """Return the line of a position."""
        return self._first_line + bisect_left(self._newlines, position)

    def column_at(self, position: int) -> int:
        """Return the column of a position."""
        return position - self.text.rfind("\n", 0, position)

    def skip_space(self, position: int) -> int:
        """Return the position of the next token."""
        return _SPACE.match(self.text, position).end()  # type: ignore[union-attr]

    def members(self, start: int) -> Iterator[tuple[str, int, int]]:
        """Yield the members of the object or list at `start`: key or index, where it is named, where its value is."""
        is_object = self.text[start] == "{"
        if not is_object and self.text[start] != "[":
            return
        at, number = self.skip_space(start + 1), 0
        while self.text[at] not in "}]":
            named, key = at, str(number)
            if is_object:
                key, at = _DECODER.raw_decode(self.text, at)
                at = self.skip_space(self.skip_space(at) + 1)  # the colon
            yield key, named, at
            at = self.skip_space(_DECODER.raw_decode(self.text, at)[1])
            if self.text[at] == ",":
                at = self.skip_space(at + 1)
            number += 1


class JsonDocument:
    """One JSON value of a piece of text, which starts at `start`."""

    text = None  # such a value need not be YAML, so it cannot be written into a YAML stream as it is

    def __init__(self, piece: _Piece, start: int, number: int) -> None:
        self.number = number
        self.warnings: tuple[DocumentWarning, ...] = ()
        self._piece = piece
        self._start = start
        self._known: dict[int, dict[str, tuple[int, int]]] = {}

    def source(self) -> tuple[str, int]:
        """Return the text that starts with the document, and its first line in the file."""
        return self._piece.text[self._start :], self._piece.line_at(self._start)

    def line_of(self, pointer: str) -> int:
        """Return the line of what a JSON Pointer names, or of its nearest existing parent."""
        named = value = self._start
        for token in pointer.split("/")[1:]:
            children = self._children(value)
            if token not in children:
                break
            named, value = children[token]
        return self._piece.line_at(named)

    def line_in(self, pointer: str, line: int) -> int:  # noqa: ARG002 - JSON writes a text in one line
        """Return the line of a line in the text that a JSON Pointer names."""
        return self.line_of(pointer)

    def value(self) -> Any:
        """Return a new copy of the document's value."""
        return _DECODER.raw_decode(self._piece.text, self._start)[0]

    def _children(self, start: int) -> dict[str, tuple[int, int]]:
        if start not in self._known:
            members = self._piece.members(start)
            self._known[start] = {escape(key): (named, value) for key, named, value in members}
        return self._known[start]


def read_json(text: str, first_line: int, number: int) -> Iterator[tuple[JsonDocument, Any]]:
    """Yield the documents in a piece of text and their values; the first one has this number in the file.

    Raises `DocumentError` at the first one that cannot be read.
    """
    piece = _Piece(text, first_line)
    start = piece.skip_space(0)
    while start < len(text):
        document = JsonDocument(piece, start, number)
        decoder = _Decoder()
        try:
            value, end = decoder.raw_decode(text, start)
            if decoder.has_duplicates:
                warnings = DocumentWarnings()
                _warn_of_duplicates(piece, start, warnings)
                document.warnings = warnings.all()
        except RecursionError:
            raise DocumentError(piece.line_at(start), "nests too deep") from None
        except json.JSONDecodeError as error:
            position, reason = _reason(piece, error)
            message = f"{NOT_JSON}{reason}"
            raise DocumentError(piece.line_at(position), message, column=piece.column_at(position)) from None
        except OverflowError as error:
            raise DocumentError(piece.line_at(start), str(error), final=True) from None
        except ValueError as error:
            raise DocumentError(piece.line_at(start), str(error)) from None
        yield document, value
        number += 1
        start = piece.skip_space(end)


def _reason(piece: _Piece, error: json.JSONDecodeError) -> tuple[int, str]:
    """Return where a text is not JSON, and why; not in an empty line at the end."""
    text = piece.text
    comma = text.rfind(",", 0, error.pos + 1)
    following = piece.skip_space(comma + 1)
    if comma >= 0 and following >= error.pos and text[following : following + 1] in ("}", "]"):
        return comma, f"a comma before {text[following]}; remove it"
    return min(error.pos, len(text.rstrip())), f"{error.msg[0].lower()}{error.msg[1:]}"


def _warn_of_duplicates(piece: _Piece, start: int, warnings: DocumentWarnings) -> None:
    keys: set[str] = set()
    for key, named, value in piece.members(start):
        if key in keys:
            warnings.add(piece.line_at(named), duplicate_key(quote(key)), column=piece.column_at(named))
        keys.add(key)
        _warn_of_duplicates(piece, value, warnings)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite number, which JSON needs; put it in quotes")


def _float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise OverflowError(f"number {quote(text)} is too large")
    return number


def _integer(text: str) -> int | float:
    number = int(text)
    return number if -_INT64 <= number < _INT64 else _float(text)


_HOOKS: dict[str, Any] = {"parse_constant": _constant, "parse_float": _float, "parse_int": _integer}
_DECODER = json.JSONDecoder(**_HOOKS)


class _Decoder(json.JSONDecoder):
    """Takes the last of duplicate keys, as kubectl does, and records that there are some."""

    def __init__(self) -> None:
        self.has_duplicates = False
        super().__init__(**_HOOKS, object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        self.has_duplicates |= len(value) < len(pairs)
        return value
