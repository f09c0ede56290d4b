"""Documents written as YAML: their values, and the line of each value.

Values are made from the parser's events, not from its nodes: libyaml's composer recurses without a limit, so that some
kilobytes of brackets would end the process, and nodes take several times the memory.
"""

import re
from collections.abc import Callable
from functools import cached_property
from math import inf
from typing import Any

import msgspec
import yaml

from webhook.core.documents.document import MAX_DEPTH, DocumentError, DocumentWarning, DocumentWarnings, duplicate_key
from webhook.core.documents.kubectl_parser import AMBIGUOUS, BARE_TAG, KubectlParser
from webhook.core.documents.locations import Location
from webhook.core.documents.yaml_errors import syntax_error
from webhook.core.documents.yaml_scalars import Scalar, canonical, json_number, key_text, plain, tagged
from webhook.core.formatting import quote

_FastParser: type[yaml.CSafeLoader | KubectlParser] = getattr(yaml, "CSafeLoader", KubectlParser)

MAX_SIZE = 4 << 20
"""How large all aliases of a document together may be: a few lines of them can expand to terabytes."""
_MAX_POLICY_DEPTH = 30
_VALUE_SIZE = 16
"""The size of a value, besides its characters."""
_MAX_TAG_DIRECTIVES = 100
"""libyaml compares each one with all before it."""
_TAG_DIRECTIVE = re.compile(r"(?:\A|[\r\n\x85\u2028\u2029])%TAG")
"""One at the start of a line: YAML 1.1 has more line breaks than `re.MULTILINE`."""
_BYTE_ORDER_MARK = re.compile(r"\A(---[^\n]*\n)?\ufeff")
_MERGE_TAG = "tag:yaml.org,2002:merge"


class Budget:
    """What documents have used together: the sizes of their values, and of what their aliases expand to."""

    def __init__(self) -> None:
        self.size = 0
        self.expansion = 0


class YamlDocument:
    """The first document in a text; `first_line` is the text's first line in its file, from 1.

    A document is read as kubectl reads it, or as one of a policy if it is given the budget that all documents of the
    policy share. Time and memory are then limited: libyaml alone reads it, all values together have at most `MAX_SIZE`,
    and they nest less. A plain scalar is then a number or a boolean only in the canonical form: `off` and `0600` are
    text.
    """

    def __init__(self, text: str, first_line: int, number: int, budget: Budget | None = None) -> None:
        self.number = number
        self.text = text
        self.warnings: tuple[DocumentWarning, ...] = ()
        self._first_line = first_line
        self._budget = budget

    def read(self) -> Any:
        """Return the value, and store the warnings. Raises `DocumentError`."""
        reader = self._reader(self._budget)
        self.warnings = reader.warnings.all()
        return reader.value

    def value(self) -> Any:
        """Return a new copy of the value, in which no part occurs twice."""
        return msgspec.json.decode(msgspec.json.encode(self._reader().value))

    def source(self) -> tuple[str, int]:
        """Return the text that starts with the document, and its first line in the file."""
        return self.text, self._first_line

    def line_of(self, pointer: str) -> int:
        """Return the line of what a JSON Pointer names, or of its nearest existing parent."""
        return self._locations.find(pointer)[0].line

    def column_of(self, pointer: str) -> int:
        """Return the column of what a JSON Pointer names, or of its nearest existing parent."""
        return self._locations.find(pointer)[0].column

    def line_in(self, pointer: str, line: int) -> int:
        """Return the line of a line (from 1) in the text that a JSON Pointer names.

        In other texts than block scalars (`|`) that is the text's own line.
        """
        location, exists = self._locations.find(pointer)
        return location.line if location.block is None or not exists else location.block + line

    @cached_property
    def _locations(self) -> Location:
        """What contains the document's location, from a second reading that few documents need."""
        start = Location(self._first_line)
        self._reader(self._budget and Budget(), start)
        return start

    def _reader(self, budget: Budget | None = None, location: Location | None = None) -> "_Reader":
        """Return a reader that has read the document: with the fast parser if it reads as kubectl does.

        Raises `DocumentError`: what the first parser finds wrong.
        """
        text = _BYTE_ORDER_MARK.sub(r"\1", self.text, count=1)
        if not text.endswith("\n"):
            text += "\n"  # as kubectl does
        if len(_TAG_DIRECTIVE.findall(text)) > _MAX_TAG_DIRECTIVES:
            raise DocumentError(self._first_line, f"has more than {_MAX_TAG_DIRECTIVES} %TAG directives")
        parsers = [_FastParser] if budget else [_FastParser, KubectlParser]
        if not budget and ("\ufeff" in text or BARE_TAG.search(text)):
            del parsers[0]
        refused: DocumentError | None = None
        for parser in parsers:
            reader = _Reader(text, self._first_line, budget, location)
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
        raise refused or DocumentError(self._first_line, "is not YAML")


def read_yaml(text: str, first_line: int, number: int) -> tuple[YamlDocument, Any]:
    """Return the first document in a text, which has this number in its file, and its value (None if it is empty).

    Raises `DocumentError`.
    """
    document = YamlDocument(text, first_line, number)
    return document, document.read()


class _AmbiguousFlowError(Exception):
    """A flow collection that the fast parser may read differently from kubectl."""


def _is_merge(key: Any) -> bool:
    return isinstance(key, yaml.ScalarEvent) and key.value == "<<" and (key.implicit[0] or key.tag == _MERGE_TAG)


class _Reader:
    """Makes values from a parser's events."""

    def __init__(self, text: str, first_line: int, budget: Budget | None, location: Location | None) -> None:
        self.value: Any = None
        self.warnings = DocumentWarnings()
        self._text = text
        self._first_line = first_line
        self._location = location
        self._resolve = canonical if budget else plain
        self._max_size = MAX_SIZE if budget else inf
        self._max_depth = _MAX_POLICY_DEPTH if budget else MAX_DEPTH
        self._is_policy = budget is not None
        self._checks_flow = not budget
        self._budget = budget or Budget()
        self._path: list[str | int] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._next: Any = None
        self._open: list[Any] = []  # the starts of the flow collections that are not closed yet

    def read(self, parser_class: Any) -> None:
        """Read the first document with a parser. Raises `DocumentError` and `_AmbiguousFlowError`."""
        try:
            parser = parser_class(self._text)
            self._next = parser.get_event
            self._checks_flow &= parser_class is not KubectlParser
            self._document()
        except yaml.YAMLError as error:
            opened = self._open[-1] if self._open else None
            raise syntax_error(error, self._text, self._first_line, opened) from None
        for line in sorted(set(getattr(parser, "colon_lines", ()))):
            message = "kubectl refuses a text that starts with a colon here; put it in quotes"
            self.warnings.add(self._first_line + line, message)

    def _document(self) -> None:
        while not isinstance(event := self._next(), yaml.DocumentStartEvent):
            if isinstance(event, yaml.StreamEndEvent):
                return
        root = self._next()
        self.value = self._node(root, root)
        self._next()  # the end of the document
        try:
            event = self._next()
            ignored = None if isinstance(event, yaml.StreamEndEvent) else self._line(event)
        except yaml.YAMLError as error:
            ignored = syntax_error(error, self._text, self._first_line).line
        if ignored is not None:
            message = "what follows from here on is ignored; start it with '---' on a line of its own"
            self.warnings.add(ignored, message)

    def _node(self, event: Any, named: Any) -> Any:
        """Return the value that starts with an event; `named` is the event of its key, or the same."""
        parent = self._location
        if parent is None:
            return self._value(event)
        block = self._line(event) if isinstance(event, yaml.ScalarEvent) and event.style == "|" else None
        self._location = Location(self._line(named), named.start_mark.column + 1, block)
        parent.add(self._path[-1] if self._path else "", self._location)
        value = self._value(event)
        self._location = parent
        return value

    def _value(self, event: Any) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if self._budget.size > self._max_size:
            raise self._error(event, f"is too large: its values have more than {MAX_SIZE >> 20} MiB", final=True)
        if len(self._path) > self._max_depth:
            raise self._error(event, f"nests deeper than {self._max_depth} levels", final=True)
        anchor, size_before = event.anchor, self._budget.size
        if anchor:
            self._anchors[anchor] = None
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            if isinstance(value, float):
                value = self._checked(json_number, event, value)
        else:
            value = self._collection(event)
        if anchor:
            self._anchors[anchor] = value, self._budget.size - size_before
        return value

    def _alias(self, event: Any) -> Any:
        name = event.anchor
        if name not in self._anchors:
            raise self._error(event, f"alias {quote(name)} has no anchor; put a * at the start of a text in quotes")
        target = self._anchors[name]
        if target is None:
            raise self._error(event, f"alias {quote(name)} is inside its own anchor")
        value, size = target
        self._budget.size += size
        self._budget.expansion += size
        if self._budget.expansion > MAX_SIZE:
            raise self._error(event, f"is too large: its aliases expand to more than {MAX_SIZE >> 20} MiB", final=True)
        return value

    def _collection(self, event: Any) -> Any:
        self._budget.size += _VALUE_SIZE
        build = self._mapping if isinstance(event, yaml.MappingStartEvent) else self._sequence
        if not event.flow_style:
            return build()[0]
        self._open.append(event)
        value, end = build()
        self._open.pop()
        is_outermost = self._checks_flow and not self._open
        if is_outermost and AMBIGUOUS.search(self._text, event.start_mark.index, end.end_mark.index):
            raise _AmbiguousFlowError
        return value

    def _sequence(self) -> tuple[list[Any], Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            self._path.append(len(values))
            values.append(self._node(event, event))
            self._path.pop()
        return values, event

    def _mapping(self) -> tuple[dict[str, Any], Any]:
        values: dict[str, Any] = {}
        merged: set[str] = set()
        has_merge = False
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if _is_merge(event):
                if has_merge and self._is_policy:
                    message = "duplicate key '<<'; merge a list instead, such as '<<: [*a, *b]'"
                    self.warnings.add(self._line(event), message, tuple(self._path), event.start_mark.column + 1)
                has_merge = True
                self._merge(event, values, merged)
                continue
            key = self._key(event)
            if key in values and key not in merged:
                name = quote(key)
                if key == "kind" and not (self._path or self._is_policy):
                    raise self._error(event, "has a second kind, so it contains two objects; put '---' between them")
                message = f"duplicate key {name}; keep one" if self._is_policy else duplicate_key(name)
                self.warnings.add(self._line(event), message, tuple(self._path), event.start_mark.column + 1)
            self._path.append(key)
            merged.discard(key)
            values[key] = self._node(self._next(), event)
            self._path.pop()
        return values, event

    def _merge(self, key_event: Any, values: dict[str, Any], merged: set[str]) -> None:
        """Merge what follows `<<` into a mapping: it replaces the keys before it; those after it replace its keys."""
        line = self._line(key_event)
        event = self._next()
        self._path.append("<<")
        source = self._node(event, key_event)
        self._path.pop()
        sources = source[::-1] if isinstance(event, yaml.SequenceStartEvent) else [source]
        if not all(isinstance(mapping, dict) for mapping in sources):
            raise self._error(key_event, "'<<' must merge a mapping")
        for mapping in sources:
            for key, value in mapping.items():
                if key in values and key not in merged and values[key] != value:
                    message = f"parsers differ on whether '<<' replaces the key {quote(key)} before it; put '<<' first"
                    self.warnings.add(line, message)
                values[key] = value
                merged.add(key)
                if self._location is not None:
                    self._location.add(key, Location(line, key_event.start_mark.column + 1))

    def _key(self, event: Any) -> str:
        key: Any = None
        if isinstance(event, yaml.AliasEvent):
            key = self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            key = self._scalar(event)
            if event.anchor:
                self._anchors[event.anchor] = key, len(event.value) + _VALUE_SIZE
        text = None if isinstance(key, dict | list) else key_text(key)
        if text is None:
            raise self._error(event, "a key must be a string")
        return text

    def _scalar(self, event: Any) -> Scalar:
        text: str = event.value
        self._budget.size += len(text) + _VALUE_SIZE
        if event.implicit[0] and event.tag != "!":
            return self._resolve(text)
        return self._checked(tagged, event, text, event.tag) if event.tag else text

    def _checked(self, convert: Callable[..., Scalar], event: Any, *values: Any) -> Scalar:
        try:
            return convert(*values)
        except ValueError as error:
            raise self._error(event, str(error)) from None

    def _line(self, event: Any) -> int:
        return self._first_line + int(event.start_mark.line)

    def _error(self, event: Any, message: str, *, final: bool = False) -> DocumentError:
        return DocumentError(self._line(event), message, column=event.start_mark.column + 1, final=final)
