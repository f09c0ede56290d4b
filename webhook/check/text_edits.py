"""Applies a JSON Patch to the text of a document, so that its comments and layout stay.

The result is a proposal: the caller reads it again, and uses it only if it means what the patch asks for.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import yaml

from webhook.check.json_style import JsonStyle
from webhook.check.source_map import find
from webhook.check.yaml_aliases import Layout, LayoutError, Span, compose_layout
from webhook.check.yaml_comments import Comments
from webhook.core.documents.yaml_writer import has_octal_modes, with_file_modes, write_block, write_flow
from webhook.core.formatting import quote
from webhook.core.json_patch import Operation, unescape

_ANCHOR = re.compile(r"(?:!\S*\s+)?(&[^\s,\[\]{}]+)\s")
"""An anchor at the start of a value, also behind a tag."""
_INDENT = re.compile(" *")
_ELSEWHERE = "is in an alias or a merge key"


class _TextEdit(NamedTuple):
    """Replace `text[start:end]`; of two insertions in one place the one that is nested deeper comes first."""

    start: int
    end: int
    text: str
    depth: int = 0


def edit_text(text: str, operations: Iterable[Operation], *, is_json: bool = False) -> str:
    """Return the text after the operations. Raises `LayoutError` if they cannot be applied to its layout."""
    layout = compose_layout(text)
    if layout is None:
        raise LayoutError("the places of its fields are unknown")
    editor = _Editor(text, layout, is_json=is_json)
    for operation in operations:
        editor.apply(operation)
    return editor.result()


class _Editor:
    def __init__(self, text: str, layout: Layout, *, is_json: bool) -> None:
        self._text = text
        self._layout = layout
        self._root = layout.root
        self._json = JsonStyle(text, layout.root) if is_json else None
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[_TextEdit] = []
        self._inserted: dict[int, tuple[yaml.CollectionNode, dict[str, None]]] = {}
        """The flow collections that get items, each with the texts of these."""
        self._appended: set[int] = set()
        self._removed: dict[int, tuple[yaml.SequenceNode, list[int]]] = {}

    def apply(self, operation: Operation) -> None:
        """Add the edits of an operation."""
        path, value = operation["path"], operation.get("value")
        parent_path, _, last = path.rpartition("/")
        parent = find(self._root, parent_path)
        line = parent.value.start_mark.line
        if not parent.exists:
            raise LayoutError(f"{quote(unescape(parent_path.rpartition('/')[2]))} {_ELSEWHERE}", line)
        if operation["op"] == "remove":
            self._remove(parent.value, unescape(last))
        elif last == "-" and isinstance(parent.value, yaml.SequenceNode):
            self._append(parent.value, value, parent_path.count("/"))
        elif isinstance(parent.value, yaml.MappingNode):
            location = find(self._root, path)
            if location.exists and location.key is not None:
                self._replace(parent.value, location.key, location.value, value, path.count("/"))
            else:
                self._insert(parent.value, unescape(last), value, parent_path.count("/"))
        elif operation["op"] == "replace" and isinstance(parent.value, yaml.SequenceNode):
            self._replace_item(parent.value, int(last), value)
        else:
            raise LayoutError("a list item cannot be inserted", line)

    def result(self) -> str:
        """Return the text with all edits."""
        for node, indexes in self._removed.values():
            self._remove_items(node, sorted(set(indexes)))
        for parent, items in self._inserted.values():
            self._insert_items(parent, list(items))
        self._edits += [edit for replaced in self._edits for edit in self._kept_comments(replaced)]
        edits = sorted(dict.fromkeys(self._edits), key=lambda edit: (edit.start, edit.end, -edit.depth))
        parts: list[str] = []
        at = 0
        for edit in edits:
            if edit.start < at:
                raise LayoutError("two changes are in the same place", self._text.count("\n", 0, edit.start))
            parts += self._text[at : edit.start], edit.text
            at = edit.end
        return "".join([*parts, self._text[at:]])

    def _kept_comments(self, edit: _TextEdit) -> Iterator[_TextEdit]:
        """Yield the comments that an edit would remove, as lines of their own above the line that it begins in."""
        if self._json or "#" not in self._text[edit.start : edit.end]:
            return
        line = self._line_start(edit.start)
        indent = _INDENT.match(self._text, line)
        prefix = indent[0] if indent else ""
        if comments := self._comments.within(edit.start, edit.end):
            lines = "".join(f"{prefix}{comment}{self._newline}" for comment in comments)
            yield _TextEdit(line, line, lines, -1)  # below what is inserted below the line before

    @cached_property
    def _comments(self) -> Comments:
        return Comments(self._text)

    def _replace(self, parent: yaml.MappingNode, key: yaml.Node, node: yaml.Node, value: Any, depth: int) -> None:
        index = next(number for number, (each, _) in enumerate(parent.value) if each is key)
        start, end = self._span(parent, index)
        is_scalar = not isinstance(value, dict | list)
        is_word = isinstance(node, yaml.ScalarNode) and node.style not in ("|", ">")
        if parent.flow_style or (is_scalar and (is_word or self._layout.alias(parent, index))):
            indent = self._text[self._line_start(key.start_mark.index) : key.start_mark.index]
            space = "" if end > start else " "
            text = self._anchor(start) + self._flow(value, None if indent.strip() else indent)
            self._edits.append(_TextEdit(start, end, space + text))
        else:
            column = key.start_mark.column
            name = getattr(key, "value", "")
            member = self._block({name: value}, column).lstrip(" ").rstrip("\r\n")
            head = f"{self._flow(name)}:"
            if anchor := member.startswith(head) and self._anchor(start).rstrip():
                member = f"{head} {anchor}{member.removeprefix(head)}"
            end = self._end_of(parent, index)
            first, newline, others = member.partition(self._newline)
            if others and self._is_line_with_comment(key, end):
                member = first
                self._insert_below(end, others + newline, depth)
            self._edits.append(_TextEdit(key.start_mark.index, end, member))

    def _replace_item(self, parent: yaml.SequenceNode, index: int, value: Any) -> None:
        start, end = self._span(parent, index)
        if parent.flow_style:
            self._edits.append(_TextEdit(start, end, self._anchor(start) + self._flow(value)))
            return
        dash = self._text.rfind("-", 0, start)
        item = self._block([value], dash - self._line_start(dash))
        self._edits.append(_TextEdit(dash, self._end_of(parent, index), item.lstrip(" ").rstrip("\r\n")))

    def _insert(self, parent: yaml.MappingNode, name: str, value: Any, depth: int) -> None:
        if parent.flow_style:
            self._insert_flow(parent, value, name)
        else:
            column = parent.value[0][0].start_mark.column
            self._insert_lines(parent, self._block({name: value}, column), depth)

    def _append(self, parent: yaml.SequenceNode, value: Any, depth: int) -> None:
        self._appended.add(id(parent))
        if parent.flow_style:
            self._insert_flow(parent, value)
        else:
            first = self._span(parent, 0).start  # the list's own begins with its anchor
            dash = self._text.rfind("-", parent.start_mark.index, first)
            self._insert_lines(parent, self._block([value], dash - self._line_start(dash)), depth)

    def _insert_flow(self, parent: yaml.CollectionNode, value: Any, name: str | None = None) -> None:
        """Insert an item at the end of a flow collection."""
        item = self._flow(value, self._items_indent(parent))
        if name is not None:
            item = f"{self._flow(name)}{self._json.colon if self._json else ': '}{item}"
        self._inserted.setdefault(id(parent), (parent, {}))[1][item] = None

    def _insert_items(self, parent: yaml.CollectionNode, items: list[str]) -> None:
        """Insert texts at the end of a flow collection, on lines of their own if the last item is."""
        indent = self._items_indent(parent)
        comma = self._json.comma if self._json else ", "
        separator = comma if indent is None else f",{self._newline}{indent}"
        text = separator.join(items)
        if parent.value:
            start = end = self._end_of(parent, len(parent.value) - 1)
            if self._loses_all(parent):
                start = self._start_of(parent, 0)
            else:
                text = separator + text
        else:
            start = end = parent.end_mark.index - 1
            if indent is not None and self._json:
                start = parent.start_mark.index + 1
                text = f"{self._newline}{indent}{text}{self._newline}{indent.removesuffix(self._json.indent)}"
        self._edits.append(_TextEdit(start, end, text))

    def _items_indent(self, parent: yaml.CollectionNode) -> str | None:
        """Return the indentation of the items of a flow collection; None if they are in one line."""
        if not parent.value:
            return self._json.items_indent(parent.start_mark.index) if self._json else None
        start = self._start_of(parent, len(parent.value) - 1)
        line = self._line_start(start)
        before = self._text[line:start]
        return before if not before.strip() and line > parent.start_mark.index else None

    def _insert_lines(self, parent: yaml.Node, lines: str, depth: int) -> None:
        """Insert lines below the last line of a block collection."""
        self._insert_below(self._end(parent), lines, depth)

    def _insert_below(self, at: int, lines: str, depth: int) -> None:
        """Insert lines below the line of a place."""
        end = self._line_end(at)
        if self._text[end - 1] != "\n":
            lines = self._newline + lines.rstrip("\r\n")
        self._edits.append(_TextEdit(end, end, lines, depth))

    def _remove(self, parent: yaml.Node, token: str) -> None:
        if isinstance(parent, yaml.SequenceNode) and token.isdecimal():
            self._removed.setdefault(id(parent), (parent, []))[1].append(int(token))
        elif isinstance(parent, yaml.MappingNode):
            names = [getattr(key, "value", None) for key, _ in parent.value]
            if names.count(token) != 1:
                why = "is a duplicate key" if token in names else _ELSEWHERE
                raise LayoutError(f"{quote(token)} {why}", parent.start_mark.line)
            self._remove_member(parent, names.index(token))
        else:
            raise LayoutError(f"{quote(token)} cannot be removed", parent.start_mark.line)

    def _remove_member(self, parent: yaml.MappingNode, index: int) -> None:
        start = self._start_of(parent, index)
        if parent.flow_style:
            self._remove_flow(parent, index)
        elif self._is_first_on_line(start):
            self._edits.append(_TextEdit(self._line_start(start), self._line_end(self._end_of(parent, index)), ""))
        elif index + 1 < len(parent.value):  # behind the dash of an item
            self._edits.append(_TextEdit(start, parent.value[index + 1][0].start_mark.index, ""))
        else:
            raise LayoutError("a list item would be left empty", parent.start_mark.line)

    def _remove_items(self, parent: yaml.SequenceNode, indexes: list[int]) -> None:
        if self._loses_all(parent) and id(parent) in self._inserted:
            return  # what is inserted replaces them
        if self._loses_all(parent) and id(parent) not in self._appended:
            start = parent.start_mark.index
            if not parent.flow_style:
                start = self._before_space(start)
            self._edits.append(_TextEdit(start, self._end(parent), "[]" if parent.flow_style else " []"))
            return
        for index in indexes:
            if parent.flow_style:
                self._remove_flow(parent, index)
                continue
            dash = self._text.rfind("-", 0, self._start_of(parent, index))
            if not self._is_first_on_line(dash):
                raise LayoutError("a list begins behind the dash of another one", parent.start_mark.line)
            self._edits.append(_TextEdit(self._line_start(dash), self._line_end(self._end_of(parent, index)), ""))

    def _anchor(self, start: int) -> str:
        """Return the anchor of the value at a place, which its new value keeps, and a space; empty if it has none."""
        anchor = None if self._json else _ANCHOR.match(self._text, start)
        return f"{anchor[1]} " if anchor else ""

    def _loses_all(self, parent: yaml.CollectionNode) -> bool:
        """Return whether all items of a list are removed."""
        return len(set(self._removed.get(id(parent), (parent, []))[1])) == len(parent.value)

    def _remove_flow(self, parent: yaml.CollectionNode, index: int) -> None:
        start, end = self._start_of(parent, index), self._end_of(parent, index)
        if index + 1 < len(parent.value):
            self._edits.append(_TextEdit(start, self._start_of(parent, index + 1), ""))
        elif index:
            self._edits.append(_TextEdit(self._end_of(parent, index - 1), end, ""))
        else:
            self._edits.append(_TextEdit(start, end, ""))

    def _span(self, parent: yaml.CollectionNode, index: int) -> Span:
        """Return the place of an item of a list, or of the value of a member."""
        item = parent.value[index]
        node = item[1] if isinstance(item, tuple) else item
        return self._layout.alias(parent, index) or Span(node.start_mark.index, node.end_mark.index)

    def _start_of(self, parent: yaml.CollectionNode, index: int) -> int:
        """Return where an item of a list, or a member with its key, begins."""
        item = parent.value[index]
        return item[0].start_mark.index if isinstance(item, tuple) else self._span(parent, index).start

    def _end_of(self, parent: yaml.CollectionNode, index: int) -> int:
        """Return where an item of a list, or a member, ends."""
        item = parent.value[index]
        alias = self._layout.alias(parent, index)
        return alias.end if alias else self._end(item[1] if isinstance(item, tuple) else item)

    def _end(self, node: yaml.Node) -> int:
        """Return where the text of a node ends, without the blank lines and comments below it."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            return self._end_of(node, len(node.value) - 1)
        return self._before_space(node.end_mark.index)

    def _before_space(self, end: int) -> int:
        while end and self._text[end - 1].isspace():
            end -= 1
        return end

    def _line_start(self, at: int) -> int:
        return self._text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        """Return the start of the next line."""
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end + 1

    def _is_line_with_comment(self, key: yaml.Node, end: int) -> bool:
        """Return whether a member that ends at `end` is one line with a comment."""
        start, line_end = self._line_start(end), self._line_end(end)
        return start <= key.start_mark.index and bool(self._text[end:line_end].strip())

    def _is_first_on_line(self, at: int) -> bool:
        return not self._text[self._line_start(at) : at].strip()

    def _flow(self, value: Any, indent: str | None = None) -> str:
        """Return a value in flow style; JSON is indented like its line, if that begins with it."""
        return self._json.write(value, indent) if self._json else write_flow(self._with_modes(value))

    def _block(self, value: Any, column: int) -> str:
        """Return a collection as lines that start in a column, with lists indented as they are in the document."""
        text = write_block(self._with_modes(value), indents_lists=self._indents_lists)
        return "".join(f"{' ' * column}{line}{self._newline}" for line in text.splitlines())

    def _with_modes(self, value: Any) -> Any:
        """Return a value whose file modes are written as the document writes them: in octal or not."""
        return with_file_modes(value) if self._has_octal_modes else value

    @cached_property
    def _has_octal_modes(self) -> bool:
        return has_octal_modes(self._text)

    @cached_property
    def _indents_lists(self) -> bool:
        """Return whether the first list in a block mapping is indented below its key."""
        pending = [self._root]
        while pending:
            node = pending.pop()
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if isinstance(value, yaml.SequenceNode) and value.value and not value.flow_style:
                        return bool(value.start_mark.column > key.start_mark.column)
                pending += (value for _, value in reversed(node.value))
            elif isinstance(node, yaml.SequenceNode):
                pending += reversed(node.value)
        return False
