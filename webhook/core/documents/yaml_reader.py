"""Documents written as YAML, read as kubectl reads them.

Values are built from the parser's events rather than from its nodes: that is faster, and libyaml's composer recurses
without a bound, so that some kilobytes of brackets would end the process.
"""

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from webhook.core.documents.document import MOST_DEPTH, DocumentError, DocumentWarnings
from webhook.core.documents.kubectl_parser import AMBIGUOUS, BARE_TAG, KubectlParser
from webhook.core.documents.yaml_scalars import Scalar, json_number, key_text, plain, tagged
from webhook.core.formatting import quote

_FastParser: type[yaml.CSafeLoader | KubectlParser] = getattr(yaml, "CSafeLoader", KubectlParser)

MOST_ALIASED = 10_000_000
"""How many characters the aliases of one document may stand for: a few lines can stand for terabytes."""

_MARK = re.compile(r"\A(---[^\n]*\n)?\ufeff")
"""A byte order mark before a document, which kubectl skips."""

_SCALAR_WEIGHT = 8
"""What a scalar counts for besides its characters."""

_MERGE_TAG = "tag:yaml.org,2002:merge"
_QUOTE = "put it in quotes"


class Location(NamedTuple):
    """Where a value is: its line, the line of its `|` if it is a block scalar (both from one), and its members."""

    line: int
    block: int | None
    members: dict[str, "Location"]


class YamlDocument:
    """One document of YAML; `first_line` is its first line in its file, from one."""

    def __init__(self, text: str, first_line: int, number: int) -> None:
        self.number = number
        self.text = text
        self.warnings: tuple[tuple[int, str], ...] = ()
        self._first_line = first_line

    def line_of(self, pointer: str) -> int:
        """Return the line of what a JSON Pointer names, or of its nearest parent that is there."""
        return self._location(pointer)[0].line

    def line_in(self, pointer: str, line: int) -> int:
        """Return the line of a line (from one) of the text that a pointer names: known of block scalars (`|`) alone."""
        location, found = self._location(pointer)
        return location.line if location.block is None or not found else location.block + line

    def value(self) -> Any:
        """Return what the document says, built anew; what aliases repeat comes as values of their own."""
        value = _read(self.text, self._first_line).value
        return msgspec.json.decode(msgspec.json.encode(value))

    def _location(self, pointer: str) -> tuple[Location, bool]:
        location = self._root
        for token in pointer.split("/")[1:]:
            member = location.members.get(token.replace("~1", "/").replace("~0", "~"))
            if member is None:
                return location, False
            location = member
        return location, True

    @cached_property
    def _root(self) -> Location:
        """The locations of all values, from a second reading that few documents need."""
        members: dict[str, Location] = {}
        _read(self.text, self._first_line, members)
        return members[""]


def read_yaml(text: str, first_line: int, number: int) -> tuple[YamlDocument, Any]:
    """Return the document in `text`, which has this number in its file, and what it says (None where it is empty).

    Of several documents in `text` it is the first. Raises `DocumentError` where it can't be read.
    """
    document = YamlDocument(text, first_line, number)
    reader = _read(text, first_line)
    document.warnings = reader.warnings.shown()
    return document, reader.value


def _read(text: str, first_line: int, locations: dict[str, Location] | None = None) -> "_Reader":
    """Read with the fast parser where it reads as kubectl does, else with the exact one; raises `DocumentError`.

    A text in a flow collection that starts with a colon is taken, although kubectl refuses it.
    """
    if not text.endswith("\n"):
        text += "\n"  # as kubectl adds it
    text = _MARK.sub(r"\1", text, count=1)
    refused: DocumentError | None = None
    exact = (KubectlParser, lambda text: KubectlParser(text, colons=True))
    for parser in exact if "\ufeff" in text or BARE_TAG.search(text) else (_FastParser, *exact):
        reader = _Reader(text, first_line, locations)
        try:
            reader.read(parser)
        except _AmbiguousFlowError:
            continue
        except DocumentError as error:
            refused = refused or error
            if error.final:
                break
        else:
            return reader
    raise refused or DocumentError(first_line, "is not YAML")


class _AmbiguousFlowError(Exception):
    """The fast parser may read a flow collection otherwise than kubectl."""


class _Reader:
    """Builds the value of the first document in a text, and the locations in it if asked to."""

    def __init__(self, text: str, first_line: int, locations: dict[str, Location] | None) -> None:
        self.value: Any = None
        self.warnings = DocumentWarnings()
        self._text = text
        self._first_line = first_line
        self._locations = locations
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._weight = 0
        self._aliased = 0
        self._next: Any = None
        self._is_fast = False
        self._flow_start: int | None = None

    def read(self, parser_of: Any) -> None:
        """Read the first document with a parser. Raises `DocumentError` and `_AmbiguousFlowError`."""
        try:
            parser = parser_of(self._text)
        except yaml.YAMLError as error:  # the parser in Python reads ahead
            raise self._bad(error) from None
        self._next = parser.get_event
        self._is_fast = not isinstance(parser, KubectlParser)
        try:
            self._document()
        except yaml.YAMLError as error:
            raise self._bad(error) from None
        finally:
            parser.dispose()
        for line in sorted(set(getattr(parser, "colon_lines", ()))):
            self.warnings.add(
                self._first_line + line, f"kubectl refuses a text that starts with a colon here; {_QUOTE}"
            )

    def _document(self) -> None:
        while not isinstance(event := self._next(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                root = self._next()
                self.value = self._node(root, 0, self._locations, "", self._line(root))
                self._next()  # the end of the document
                self._warn_of_more()
                return

    def _warn_of_more(self) -> None:
        try:
            event = self._next()
            line = None if isinstance(event, StreamEndEvent) else self._line(event)
        except yaml.YAMLError as error:
            line = self._bad(error).line
        if line is not None:
            self.warnings.add(
                line, "kubectl ignores what follows from here on; start it with '---' on a line of its own"
            )

    def _node(self, event: Any, depth: int, into: dict[str, Location] | None, token: str, line: int) -> Any:
        """Return the value that starts with an event, and put its location `into` its parent's under `token`."""
        members: dict[str, Location] | None = None
        if into is not None:
            members = {}
            block = self._line(event) if isinstance(event, ScalarEvent) and event.style == "|" else None
            into[token] = Location(line, block, members)
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if depth > MOST_DEPTH:
            raise self._error(event, f"nests deeper than {MOST_DEPTH} levels", final=True)
        anchor, before = event.anchor, self._weight
        if anchor:
            self._anchors[anchor] = None
        value: Any
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
            if isinstance(value, float):
                value = self._checked(json_number, event, value)
        else:
            value = self._collection(event, depth + 1, members)
        if anchor:
            self._anchors[anchor] = value, self._weight - before
        return value

    def _alias(self, event: Any) -> Any:
        name = event.anchor
        if name not in self._anchors:
            raise self._error(event, f"no anchor {quote(name)} for this alias")
        found = self._anchors[name]
        if found is None:
            raise self._error(event, f"the alias {quote(name)} stands inside what it stands for")
        value, weight = found
        self._weight += weight
        self._aliased += weight
        if self._aliased > MOST_ALIASED:
            raise self._error(event, f"the aliases stand for more than {MOST_ALIASED} characters", final=True)
        return value

    def _collection(self, event: Any, depth: int, members: dict[str, Location] | None) -> Any:
        build = self._mapping if isinstance(event, MappingStartEvent) else self._sequence
        if not (self._is_fast and event.flow_style and self._flow_start is None):
            return build(depth, members)[0]
        self._flow_start = event.start_mark.index
        value, end = build(depth, members)
        if AMBIGUOUS.search(self._text, self._flow_start, end.end_mark.index):
            raise _AmbiguousFlowError
        self._flow_start = None
        return value

    def _mapping(self, depth: int, members: dict[str, Location] | None) -> tuple[dict[str, Any], Any]:
        found: dict[str, Any] = {}
        merged: set[str] = set()
        while not isinstance(event := self._next(), MappingEndEvent):
            if (
                isinstance(event, ScalarEvent)
                and event.value == "<<"
                and (event.implicit[0] or event.tag == _MERGE_TAG)
            ):
                self._merge(event, depth, found, merged, members)
                continue
            key = self._key(event)
            if key in found and key not in merged:
                self.warnings.add(
                    self._line(event), f"duplicate key {quote(key)}; kubectl takes the last, remove the others"
                )
            merged.discard(key)
            found[key] = self._node(self._next(), depth, members, key, self._line(event))
        return found, event

    def _merge(
        self, event: Any, depth: int, found: dict[str, Any], merged: set[str], members: dict[str, Location] | None
    ) -> None:
        """Merge into a mapping what follows `<<`: it replaces the keys before it, and is replaced by those after it."""
        source = self._next()
        value = self._node(source, depth, None, "", 0)
        mappings = value[::-1] if isinstance(source, SequenceStartEvent) else [value]
        if not all(isinstance(mapping, dict) for mapping in mappings):
            raise self._error(event, "'<<' merges what is no mapping")
        line = self._line(event)
        for mapping in mappings:
            for key, new in mapping.items():
                if key in found and key not in merged and found[key] != new:
                    self.warnings.add(
                        line, f"'<<' replaces the key {quote(key)} before it in kubectl alone; put '<<' first"
                    )
                found[key] = new
                merged.add(key)
                if members is not None:
                    members[key] = Location(line, None, {})

    def _key(self, event: Any) -> str:
        if isinstance(event, AliasEvent):
            key = self._alias(event)
        elif isinstance(event, ScalarEvent):
            key = self._scalar(event)
            if event.anchor:
                self._anchors[event.anchor] = key, len(event.value) + _SCALAR_WEIGHT
        else:
            raise self._error(event, "a key has to be a string")
        text = None if isinstance(key, dict | list) else key_text(key)
        if text is None:
            raise self._error(event, "a key has to be a string")
        return text

    def _sequence(self, depth: int, members: dict[str, Location] | None) -> tuple[list[Any], Any]:
        found: list[Any] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            found.append(self._node(event, depth, members, str(len(found)), self._line(event)))
        return found, event

    def _scalar(self, event: Any) -> Scalar:
        text: str = event.value
        self._weight += len(text) + _SCALAR_WEIGHT
        if event.implicit[0] and event.tag != "!":
            return plain(text)
        return self._checked(tagged, event, text, event.tag) if event.tag else text

    def _checked(self, convert: Callable[..., Scalar], event: Any, *values: Any) -> Scalar:
        try:
            return convert(*values)
        except ValueError as error:
            raise self._error(event, str(error)) from None

    def _line(self, event: Any) -> int:
        return self._first_line + int(event.start_mark.line)

    def _error(self, event: Any, message: str, *, final: bool = False) -> DocumentError:
        return DocumentError(self._line(event), message, final=final)

    def _bad(self, error: yaml.YAMLError) -> DocumentError:
        if isinstance(error, ReaderError):
            line = self._text.encode()[: error.position].count(b"\n")
            return DocumentError(
                self._first_line + line, "holds a control character, which YAML doesn't allow", final=True
            )
        mark = getattr(error, "problem_mark", None)
        line = int(mark.line) if mark else 0
        indent = re.match(r"\s*", (self._text.split("\n")[line : line + 1] or [""])[0])
        hint = "; YAML is indented with spaces, not tabs" if indent and "\t" in indent[0] else ""
        problem = getattr(error, "problem", None) or "it can't be parsed"
        return DocumentError(self._first_line + line, f"is not YAML: {problem}{hint}")
