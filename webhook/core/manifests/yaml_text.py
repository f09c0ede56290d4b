"""Documents written as YAML, read as kubectl reads them: YAML 1.1 without dates and base-60 numbers.

Values are built from libyaml's events rather than from its nodes: that is faster, and its composer
recurses without a bound, so that some kilobytes of brackets would end the process.
"""

import re
from functools import cached_property
from math import isinf
from typing import Any

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from webhook.core.manifests.documents import MOST_DEPTH, DocumentError
from webhook.core.patch import escape
from webhook.core.text import quote

_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MOST_ALIASED = 10_000_000
"""How many characters the aliases of one document may stand for: a few lines can stand for terabytes."""

_PREFIX = "tag:yaml.org,2002:"
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_A_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MOST_DIGITS = 4000
_INT64 = 2**63


class YamlDocument:
    """One document of YAML; `first_line` is its first line in its file, from one."""

    def __init__(self, text: str, first_line: int, number: int) -> None:
        self.number = number
        self.text = text
        self._first_line = first_line

    def line_of(self, pointer: str) -> int:
        """Return the line of what a JSON Pointer names, or of its nearest parent that is there."""
        lines, _ = self._places
        while pointer and pointer not in lines:
            pointer = pointer.rpartition("/")[0]
        return lines[pointer]

    def line_in(self, pointer: str, line: int) -> int:
        """Return the line of a line (from one) of the text that a pointer names: known of block scalars (`|`) alone."""
        _, blocks = self._places
        return blocks[pointer] + line if pointer in blocks else self.line_of(pointer)

    def value(self) -> Any:
        """Return what the document says, built anew; what aliases repeat comes as values of their own."""
        value = _Builder(self.text, self._first_line).value()
        return msgspec.json.decode(msgspec.json.encode(value))

    @cached_property
    def _places(self) -> tuple[dict[str, int], dict[str, int]]:
        """Every pointer's line, and where each block scalar's `|` is, from a second reading that few documents need."""
        lines: dict[str, int] = {}
        blocks: dict[str, int] = {}
        _Builder(self.text, self._first_line, (lines, blocks)).value()
        return lines, blocks


def read_yaml(text: str, first_line: int, number: int) -> tuple[YamlDocument, Any]:
    """Return the document in `text`, which has this number in its file, and what it says (None where it is empty).

    Raises `DocumentError` where it can't be read.
    """
    return YamlDocument(text, first_line, number), _Builder(text, first_line).value()


class _Builder:
    """Builds the value of one document; writes down where everything stands, and where block scalars do, if asked."""

    def __init__(self, text: str, first_line: int, places: tuple[dict[str, int], dict[str, int]] | None = None) -> None:
        self._text = text
        self._first_line = first_line
        self._lines: dict[str, int] | None
        self._lines, self._blocks = places or (None, {})
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._weight = 0
        self._aliased = 0
        self._next: Any = None

    def value(self) -> Any:
        """Return what the document says. Raises `DocumentError`."""
        value = None
        try:
            loader = _Loader(self._text)
        except yaml.YAMLError as error:  # the loader without libyaml reads ahead
            raise self._bad(error) from None
        self._next = loader.get_event
        try:
            while not isinstance(event := self._next(), StreamEndEvent):
                if isinstance(event, DocumentStartEvent):
                    root = self._next()
                    if self._lines is not None:
                        self._lines[""] = self._line(root)
                    value = self._node(root, "", 0)
        except yaml.YAMLError as error:
            raise self._bad(error) from None
        finally:
            loader.dispose()
        return value

    def _node(self, event: Any, pointer: str, depth: int) -> Any:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if depth > MOST_DEPTH:
            raise DocumentError(self._line(event), f"nests deeper than {MOST_DEPTH} levels")
        anchor, before = event.anchor, self._weight
        if anchor:
            self._anchors[anchor] = None
        value: Any
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
            if self._lines is not None and event.style == "|":
                self._blocks[pointer] = self._line(event)
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(pointer, depth + 1)
        else:
            value = self._sequence(pointer, depth + 1)
        if anchor:
            self._anchors[anchor] = value, self._weight - before
        return value

    def _alias(self, event: Any) -> Any:
        name = event.anchor
        if name not in self._anchors:
            raise DocumentError(self._line(event), f"no anchor {quote(name)} for this alias")
        found = self._anchors[name]
        if found is None:
            raise DocumentError(self._line(event), f"the alias {quote(name)} stands inside what it stands for")
        value, weight = found
        self._weight += weight
        self._aliased += weight
        if self._aliased > MOST_ALIASED:
            raise DocumentError(self._line(event), f"the aliases stand for more than {MOST_ALIASED} characters")
        return value

    def _mapping(self, pointer: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[Any] = []
        while not isinstance(event := self._next(), MappingEndEvent):
            if isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]:
                merged += self._merged(event, pointer, depth)
                continue
            key = self._key(event)
            if key in found:
                raise DocumentError(self._line(event), f"the key {quote(key)} is there twice")
            at = ""
            if self._lines is not None:
                at = f"{pointer}/{escape(key)}"
                self._lines[at] = self._line(event)
            found[key] = self._node(self._next(), at, depth)
        for mapping in merged:
            for key, value in mapping.items():
                found.setdefault(key, value)
        return found

    def _merged(self, event: Any, pointer: str, depth: int) -> list[dict[str, Any]]:
        value = self._node(self._next(), f"{pointer}/<<", depth)
        mappings = value if isinstance(value, list) else [value]
        if not all(isinstance(mapping, dict) for mapping in mappings):
            raise DocumentError(self._line(event), "'<<' merges what is no mapping")
        return mappings

    def _key(self, event: Any) -> str:
        if isinstance(event, AliasEvent):
            key = self._alias(event)
        elif isinstance(event, ScalarEvent):
            key = self._node(event, "", 0)
        else:
            raise DocumentError(self._line(event), "a key has to be a string")
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, str | int | float):
            return str(key)
        raise DocumentError(self._line(event), "a key has to be a string")

    def _sequence(self, pointer: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            at = ""
            if self._lines is not None:
                at = f"{pointer}/{len(found)}"
                self._lines[at] = self._line(event)
            found.append(self._node(event, at, depth))
        return found

    def _scalar(self, event: Any) -> Any:
        text = event.value
        self._weight += len(text) + 8
        tag = event.tag or ""
        if not event.implicit[0] and tag.removeprefix(_PREFIX) not in ("null", "bool", "int", "float"):
            return text
        if _NOT_A_NUMBER.fullmatch(text):
            raise DocumentError(self._line(event), "is no number that JSON has")
        try:
            return plain(text)
        except OverflowError:
            raise DocumentError(self._line(event), "is too large a number") from None

    def _line(self, event: Any) -> int:
        return self._first_line + int(event.start_mark.line)

    def _bad(self, error: yaml.YAMLError) -> DocumentError:
        if isinstance(error, ReaderError):
            line = self._text.encode()[: error.position].count(b"\n")
            return DocumentError(self._first_line + line, "holds a control character, which YAML doesn't allow")
        mark = getattr(error, "problem_mark", None)
        line = int(mark.line) if mark else 0
        indent = re.match(r"\s*", (self._text.split("\n")[line : line + 1] or [""])[0])
        hint = "; YAML is indented with spaces, not tabs" if indent and "\t" in indent[0] else ""
        problem = getattr(error, "problem", None) or "it can't be parsed"
        return DocumentError(self._first_line + line, f"is not YAML: {problem}{hint}")


def plain(text: str) -> str | int | float | bool | None:
    """Return what a scalar without quotes means. Raises OverflowError where that is too large a number."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits) and len(digits) < _MOST_DIGITS:
        octal = digits.lstrip("+-")
        number = int(digits, 8 if octal[0] == "0" and octal.isdigit() else 0)
        return number if -_INT64 <= number < 2 * _INT64 else float(number)
    if _FLOAT.fullmatch(digits):
        real = float(digits)
        if isinf(real):
            raise OverflowError
        return int(real) if real.is_integer() and abs(real) < _INT64 else real
    return text
