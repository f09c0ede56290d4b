"""How a JSON document is laid out: its indentation and the spaces beside its separators."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

_KEY = re.compile(r'\s*("[^"\n]*"\s*:\s*)?')


class JsonStyle:
    """Writes values in the layout of a document; `comma` and `colon` are its separators within a line."""

    def __init__(self, text: str, root: yaml.Node) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self.colon = next(_colons(text, root), ": ")
        self.comma = next(_commas(text, root), ", " if self.colon.endswith(" ") else ",")
        self.indent = _indent(text, root)
        """What indents the items of a collection on lines of their own; empty if they are on one line."""

    def items_indent(self, start: int) -> str | None:
        """Return the indentation of items to be of the empty collection at `start`; None: they go into its line."""
        line = self._text.rfind("\n", 0, start) + 1
        before = self._text[line:start]
        is_alone = bool(self.indent) and _KEY.fullmatch(before) is not None
        return before[: len(before) - len(before.lstrip())] + self.indent if is_alone else None

    def write(self, value: Any, indent: str | None = None) -> str:
        """Return a value as text; `indent` is that of the line that it begins on, None writes one line."""
        if indent is None or not self.indent:
            return json.dumps(value, ensure_ascii=False, separators=(self.comma, self.colon))
        lines = json.dumps(value, ensure_ascii=False, indent=self.indent, separators=(",", self.colon)).split("\n")
        return f"{self._newline}{indent}".join(lines)


def _indent(text: str, root: yaml.Node) -> str:
    first = next(_starts(root), root.start_mark.index)
    line = text.rfind("\n", 0, first) + 1
    return text[line:first] if root.start_mark.index < line and not text[line:first].strip() else ""


def _starts(node: yaml.Node) -> Iterator[int]:
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield (child[0] if isinstance(child, tuple) else child).start_mark.index


def _colons(text: str, root: yaml.Node) -> Iterator[str]:
    """Yield what is between a key and its value on one line."""
    for node in _collections(root):
        if isinstance(node, yaml.MappingNode):
            between = (text[key.end_mark.index : value.start_mark.index] for key, value in node.value)
            yield from (colon for colon in between if "\n" not in colon)


def _commas(text: str, root: yaml.Node) -> Iterator[str]:
    """Yield what is between two items on one line."""
    for node in _collections(root):
        values = [child[1] if isinstance(child, tuple) else child for child in node.value]
        ends = [value.end_mark.index for value in values]
        between = (text[end:start] for end, start in zip(ends, [*_starts(node)][1:], strict=False))
        yield from (comma for comma in between if "\n" not in comma)


def _collections(root: yaml.Node) -> Iterator[yaml.CollectionNode]:
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, yaml.CollectionNode):
            yield node
            pending += reversed([child[1] if isinstance(child, tuple) else child for child in node.value])
