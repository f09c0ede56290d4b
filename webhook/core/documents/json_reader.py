"""Documents written as JSON, one after the other, as kubectl reads and writes them."""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from math import isinf
from typing import Any, NoReturn

from webhook.core.documents.document import DocumentError, DocumentWarnings
from webhook.core.formatting import quote
from webhook.core.json_patch import escape

_SPACE = " \t\r\n"
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")\s*(:?)|[{}\[\]]')
_INT64 = 2**63


class JsonDocument:
    """One JSON value of a piece of text, which starts at `start`; `first_line` is the piece's, from one.

    `newlines` are the places of the piece's line ends, which all its documents share.
    """

    text = None  # such a value need not be YAML, so it can't stand in a YAML stream as it is

    def __init__(self, piece: str, start: int, first_line: int, number: int, newlines: list[int]) -> None:
        self.number = number
        self.warnings: tuple[tuple[int, str], ...] = ()
        self._piece = piece
        self._start = start
        self._first_line = first_line
        self._newlines = newlines
        self._known: dict[int, dict[str, tuple[int, int]]] = {}

    def line_of(self, pointer: str) -> int:
        """Return the line of what a JSON Pointer names, or of its nearest parent that is there."""
        named = value = self._start
        for token in pointer.split("/")[1:]:
            children = self._children(value)
            if token not in children:
                break
            named, value = children[token]
        return self._first_line + bisect_left(self._newlines, named)

    def line_in(self, pointer: str, line: int) -> int:  # noqa: ARG002 - JSON writes a text in one line
        """Return the line of a line of the text that a pointer names."""
        return self.line_of(pointer)

    def value(self) -> Any:
        """Return what the document says, read anew."""
        return _DECODER.raw_decode(self._piece, self._start)[0]

    def _children(self, start: int) -> dict[str, tuple[int, int]]:
        """Return where the members of the object or list at `start` are named, and where their values start."""
        if start not in self._known:
            self._known[start] = dict(_members(self._piece, start))
        return self._known[start]


def read_json(piece: str, start: int, first_line: int, number: int) -> Iterator[tuple[JsonDocument, Any]]:
    """Read the JSON values in a piece, from `start` on; the first one has this number in the file.

    Raises `DocumentError` where no further value can be read.
    """
    newlines = [found.start() for found in re.finditer("\n", piece)]
    start = _skip_space(piece, start)
    while start < len(piece):
        document = JsonDocument(piece, start, first_line, number, newlines)
        duplicates = _Duplicates()
        try:
            value, end = duplicates.decoder.raw_decode(piece, start)
        except RecursionError:
            raise DocumentError(document.line_of(""), "nests too deep") from None
        except json.JSONDecodeError as error:
            line = first_line + piece.count("\n", 0, error.pos)
            raise DocumentError(line, f"is not JSON: {error.msg[0].lower()}{error.msg[1:]}") from None
        except OverflowError as error:
            raise DocumentError(document.line_of(""), str(error), final=True) from None
        except ValueError as error:
            raise DocumentError(document.line_of(""), str(error)) from None
        if duplicates.found:
            document.warnings = _duplicate_keys(piece, start, end, document.line_of(""))
        yield document, value
        number += 1
        start = _skip_space(piece, end)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number that JSON has")


def _float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise OverflowError(f"{quote(text)} is too large a number")
    return number


def _integer(text: str) -> int | float:
    number = int(text)
    return number if -_INT64 <= number < _INT64 else _float(text)


_HOOKS: dict[str, Any] = {"parse_constant": _constant, "parse_float": _float, "parse_int": _integer}
_DECODER = json.JSONDecoder(**_HOOKS)


class _Duplicates:
    """A decoder for one document that takes the last of duplicate keys, as kubectl does, and records them."""

    def __init__(self) -> None:
        self.found = False
        self.decoder = json.JSONDecoder(**_HOOKS, object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        self.found = self.found or len(value) < len(pairs)
        return value


def _duplicate_keys(piece: str, start: int, end: int, line: int) -> tuple[tuple[int, str], ...]:
    """Return a warning for each key that its object in the JSON text from `start` to `end` already has."""
    warnings = DocumentWarnings()
    within: list[set[str]] = []
    counted = start
    for token in _TOKEN.finditer(piece, start, end):
        line += piece.count("\n", counted, token.start())
        counted = token.start()
        if token[0] in ("{", "["):
            within.append(set())
        elif token[0] in ("}", "]"):
            within.pop()
        elif token[2]:
            key = json.loads(token[1], strict=False)
            if key in within[-1]:
                warnings.add(line, f"duplicate key {quote(key)}; kubectl takes the last, remove the others")
            within[-1].add(key)
    return warnings.shown()


def _members(piece: str, start: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the reference token of each member, where it is named, and where its value starts."""
    is_object = piece[start] == "{"
    if not is_object and piece[start] != "[":
        return
    at, number = _skip_space(piece, start + 1), 0
    while piece[at] not in "}]":
        named, token = at, str(number)
        if is_object:
            key, at = _DECODER.raw_decode(piece, at)
            token = escape(key)
            at = _skip_space(piece, _skip_space(piece, at) + 1)  # the colon
        yield token, (named, at)
        at = _skip_space(piece, _DECODER.raw_decode(piece, at)[1])
        if piece[at] == ",":
            at = _skip_space(piece, at + 1)
        number += 1


def _skip_space(piece: str, at: int) -> int:
    while at < len(piece) and piece[at] in _SPACE:
        at += 1
    return at
