"""Where the values of a manifest are in its text: for the source line of a finding, and for edits of the text."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, get_args

import msgspec
import yaml

from webhook.core import k8s_types, token_objects
from webhook.core.documents.stream import Document
from webhook.core.documents.yaml_writer import has_octal_modes
from webhook.core.formatting import plain
from webhook.core.json_patch import unescape

if TYPE_CHECKING:
    from yaml import SafeLoader as _Loader
else:  # with libyaml, where it is there: many times faster
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Node = yaml.Node
_PRIVATE = frozenset({"annotations", "data", "stringData"})
"""Fields below which nothing is shown, whatever its name."""
_FIELDS = [
    field
    for model in [*vars(k8s_types).values(), *vars(token_objects).values()]
    if isinstance(model, type) and issubclass(model, k8s_types.Object)
    for field in msgspec.structs.fields(model)
]
_SHOWN_KEYS = {field.encode_name for field in _FIELDS} - _PRIVATE
"""The fields that rules read; any other value, such as that of a misspelt field, may be secret."""
_SCALAR_KEYS = {
    field.encode_name for field in _FIELDS if {*(get_args(field.type) or [field.type])} <= {int, str, bool, type(None)}
}
"""Those whose value is no mapping and no list."""
_MAX_WRONG_LENGTH = 40
"""The longest value of a wrong type that is shown."""
_HIDDEN = "…"
_MAX_LENGTH = 200
_MAX_LINE = 1000
"""Longer lines, such as those of minified JSON, are not shown."""
_COMMENT = re.compile(r"\s+#.*")


class Excerpt(NamedTuple):
    """A place in a file: its line and columns (from 1; `end_column` is behind it), and the line as it may be shown.

    `start` and `end` are the place in `text`, from 0. Values on the line that are not part of the place, or that may be
    secret, are left out.
    """

    line: int
    column: int
    end_column: int
    text: str
    start: int
    end: int


class _Scalar(NamedTuple):
    """A scalar: its columns on a line, and whether it is a key."""

    start: int
    end: int
    is_key: bool


class Place(NamedTuple):
    """What a JSON Pointer names: its key, if it has one, its value, and whether it exists (else: its parent)."""

    key: Node | None
    value: Node
    exists: bool


def compose(text: str) -> Node | None:
    """Return the root of the first document in a text; None if its positions are unknown.

    The document must have been read before: a reader limits how deep it nests, and libyaml's composer does not.
    """
    if "\ufeff" in text:
        return None
    loader = _Loader(text)
    try:
        node: Node | None = loader.get_node() if loader.check_node() else None
    except (yaml.YAMLError, RecursionError):
        return None
    finally:
        loader.dispose()
    return node


def find(root: Node, pointer: str) -> Place:
    """Return what a JSON Pointer names below `root`, or its nearest existing parent."""
    location = Place(None, root, exists=True)
    for token in pointer.split("/")[1:]:
        part = child_of(location.value, unescape(token))
        if part is None:
            return location._replace(exists=False)
        location = part
    return location


def child_of(node: Node, name: str) -> Place | None:
    """Return the member or item of a node; None if there is none."""
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):  # the last of duplicate keys counts
            if isinstance(key, yaml.ScalarNode) and key.value == name:
                return Place(key, value, exists=True)
    if isinstance(node, yaml.SequenceNode) and name.isdecimal() and int(name) < len(node.value):
        return Place(None, node.value[int(name)], exists=True)
    return None


class SourceMap:
    """The text of one document, and the places in it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._text, self._first_line = document.source()
        text = self._text
        self._root = compose(text)
        self._lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text) if self._root else []  # YAML's line breaks
        self._scalars: dict[int, list[_Scalar]] | None = None

    @cached_property
    def has_octal_modes(self) -> bool:
        """Whether the document is YAML and writes the modes of files in octal."""
        return self.document.text is not None and has_octal_modes(self._text)

    def excerpt(self, pointer: str, fields: Iterable[str] = ()) -> Excerpt | None:
        """Return the place of the first of the fields below a JSON Pointer that exists, else of what it names.

        If that does not exist either, return the place of its nearest existing parent.
        """
        if self._root is None:
            return None
        below = (f"{pointer}/{field}" for field in fields)
        pointer = next((each for each in below if find(self._root, each).exists), pointer)
        key, value, _ = find(self._root, pointer)
        return self._excerpt(key or value, value, lambda number: _visible(pointer, value, number))

    def field_excerpt(self, pointer: str, *, show_value: bool = False) -> Excerpt | None:
        """Return the place of the key that a JSON Pointer names, or of its nearest existing parent.

        With `show_value` the value is shown, too, and part of the place, if it is a short one of a field that rules
        read, and that contains no mapping or list.
        """
        if self._root is None:
            return None
        key, value, exists = find(self._root, pointer)
        if show_value and exists and _is_short(pointer, value):
            return self._excerpt(key or value, value, lambda number: _visible(pointer, value, number))
        return self._excerpt(key or value, key or value, lambda _: set())

    def _excerpt(self, first: Node, last: Node, visible_at: Callable[[int], set[int]]) -> Excerpt | None:
        """Return the place from one node to another; `visible_at` returns what may be shown of a line."""
        mark, end_mark = first.start_mark, last.end_mark
        number, start = mark.line, mark.column
        if number >= len(self._lines):
            return None
        is_long = len(self._lines[number]) > _MAX_LINE
        content = self._lines[number] if is_long else self._without_comment(number)
        end = max(min(end_mark.column, len(content)) if end_mark.line == number else len(content), start)
        if is_long:
            return Excerpt(self._first_line + number, start + 1, end + 1, "", 0, 0)
        shown = self._masked(number, content, start, end, visible_at(number))
        return Excerpt(self._first_line + number, start + 1, end + 1, *shown)

    def line_excerpt(self, line: int) -> Excerpt | None:
        """Return a whole line of a text in the document that contains nothing secret, such as a policy."""
        number = line - self._first_line
        if not 0 <= number < len(self._lines):
            return None
        text = self._lines[number].rstrip()
        start = len(text) - len(text.lstrip())
        shown = plain(text.expandtabs(1))
        return Excerpt(line, start + 1, len(text) + 1, shown, start, len(shown))

    def _without_comment(self, number: int) -> str:
        """Return a line up to its last token; a comment may contain anything."""
        line = self._lines[number]
        last = max((scalar.end for scalar in self._on_line(number)), default=0)
        return line[:last] + _COMMENT.sub("", line[last:]).rstrip()

    def _masked(self, number: int, content: str, start: int, end: int, visible: set[int]) -> tuple[str, int, int]:
        """Return a line without the values that do not start in `visible`, and where `start` and `end` are in it."""
        text, at, shown_start, shown_end = "", 0, -1, -1

        def copy(upto: int) -> None:
            nonlocal text, at, shown_start, shown_end
            for stop in sorted({position for position in (start, end) if at <= position <= upto} | {upto}):
                text += plain(content[at:stop].expandtabs(1))
                at = stop
                shown_start = len(text) if stop == start and shown_start < 0 else shown_start
                shown_end = len(text) if stop == end else shown_end

        for scalar in sorted(self._on_line(number)):
            if scalar.start < at or scalar.is_key or scalar.start in visible:
                continue
            copy(scalar.start)
            text += _HIDDEN
            at = min(scalar.end, len(content))
            shown_end = len(text) if end == at else shown_end
        copy(len(content))
        return text, max(shown_start, 0), shown_end if shown_end >= 0 else len(text)

    def _on_line(self, number: int) -> list[_Scalar]:
        if self._scalars is None:
            self._scalars = {}
            for node, is_key in _scalars(self._root):
                first, last = node.start_mark, node.end_mark
                for line in range(first.line, last.line + 1):
                    start = first.column if line == first.line else 0
                    end = last.column if line == last.line else len(self._lines[line])
                    if start < end:
                        self._scalars.setdefault(line, []).append(_Scalar(start, end, is_key))
        return self._scalars.get(number, [])


def _is_short(pointer: str, value: Node) -> bool:
    """Return whether a field's value is short enough to be shown though it may be a wrong one."""
    *above, name = pointer.split("/")
    is_known = name in _SCALAR_KEYS and _PRIVATE.isdisjoint(above)
    return is_known and isinstance(value, yaml.ScalarNode) and len(value.value) <= _MAX_WRONG_LENGTH


def _visible(pointer: str, value: Node, number: int) -> set[int]:
    """Return the columns on a line at which values start that may be shown: those at a JSON Pointer that rules read."""
    names = [name for name in pointer.split("/")[1:] if not name.isdecimal()]
    if not _PRIVATE.isdisjoint(names) or not _SHOWN_KEYS.issuperset(names[-1:]):
        return set()
    return {
        node.start_mark.column
        for node, is_key in _scalars(value, read_only=True)
        if not is_key and node.start_mark.line == number
        if not node.value.startswith("eyJ") and len(node.value) <= _MAX_LENGTH
    }


def _scalars(root: Node | None, *, read_only: bool = False) -> Iterator[tuple[yaml.ScalarNode, bool]]:
    """Yield the scalars below a node, each once, and whether they are keys; with `read_only` those that rules read."""
    pending: list[tuple[Node | None, bool]] = [(root, False)]
    seen: set[int] = set()
    while pending:
        node, is_key = pending.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if not read_only or getattr(key, "value", "") in _SHOWN_KEYS:
                    pending += ((key, True), (value, False))
        elif isinstance(node, yaml.SequenceNode):
            pending += ((item, False) for item in node.value)
        elif isinstance(node, yaml.ScalarNode) and node.end_mark.index > node.start_mark.index:
            yield node, is_key
