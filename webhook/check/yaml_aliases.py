"""Where the aliases of a YAML document are in its text, and patches that give them values of their own."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonpointer
import yaml
from yaml.composer import Composer

from webhook.check.source_map import child_of
from webhook.core.json_patch import Operation, escape, is_inside, unescape

if TYPE_CHECKING or not hasattr(yaml, "CSafeLoader"):
    _Loader = yaml.SafeLoader
else:  # with libyaml's parser: many times faster; its composer does not say where aliases are
    _Loader = type("_Loader", (Composer, yaml.CSafeLoader), {"__init__": yaml.CSafeLoader.__init__})


class LayoutError(Exception):
    """Why the text of a document cannot be edited, and the line (from 0) of the field that is to blame.

    `used` is the line that the reason ends with, if it does.
    """

    def __init__(self, reason: str, line: int = 0, used: int | None = None) -> None:
        super().__init__(reason)
        self.line = line
        self._reason = reason
        self._used = used

    def reason(self, first_line: int) -> str:
        """Return the reason in a file in which the document begins at a line."""
        return self._reason if self._used is None else f"{self._reason} on line {first_line + self._used}"


class Span(NamedTuple):
    """A place in a text."""

    start: int
    end: int


class Layout:
    """The nodes of a document, in which an alias is the node of its anchor, and the places of the aliases."""

    def __init__(self, root: yaml.Node, aliases: dict[tuple[int, int], Span]) -> None:
        self.root = root
        self._aliases = aliases

    def alias(self, parent: yaml.CollectionNode, index: int) -> Span | None:
        """Return the place of the alias that is an item of a list or the value of a member; None if it is none."""
        item = parent.value[index]
        return self._aliases.get((id(parent), id(item[0]) if isinstance(item, tuple) else index))

    def shared_place(self, pointer: str) -> str:
        """Return the first place on the way to another that is an alias or not in the text, such as a merged key.

        It is empty if all of them have values of their own.
        """
        node, place = self.root, ""
        for token in pointer.split("/")[1:]:
            place += f"/{token}"
            child = child_of(node, unescape(token))
            if child is None or (id(node), int(token) if child.key is None else id(child.key)) in self._aliases:
                return place
            node = child.value
        return ""


class _AliasLoader(_Loader):
    """Composes as `yaml` does, and keeps where the aliases are."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.anchors: dict[str, yaml.Node] = {}
        self.places: dict[tuple[int, int], Span] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node."""
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            key = index if isinstance(index, int) else id(index)
            self.places[id(parent), key] = Span(event.start_mark.index, event.end_mark.index)
        return super().compose_node(parent, index)


def lost_anchor(before: str, after: str) -> LayoutError | None:
    """Return which anchor an edited text has lost although it is used, None if there is none."""
    anchors, used = _anchors(before)
    remaining, _ = _anchors(after)
    lost = next((name for name in used if name not in remaining), None)
    return (
        None
        if lost is None
        else LayoutError(f"anchor &{lost} would be removed, but is used", anchors[lost], used[lost])
    )


def _anchors(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return the lines of the anchors in a text, and of the first aliases of each; both up to where it is invalid."""
    anchors: dict[str, int] = {}
    used: dict[str, int] = {}
    with contextlib.suppress(yaml.YAMLError, RecursionError):
        for event in yaml.parse(text, _Loader):
            name = getattr(event, "anchor", None)
            if name is not None and event.start_mark is not None:
                (used if isinstance(event, yaml.AliasEvent) else anchors).setdefault(name, event.start_mark.line)
    return anchors, used


def compose_layout(text: str) -> Layout | None:
    """Return the nodes of the first document in a text; None if their positions are unknown."""
    if "\ufeff" in text:
        return None
    loader = _AliasLoader(text)
    try:
        root = loader.get_node() if loader.check_node() else None
    except (yaml.YAMLError, RecursionError):
        return None
    finally:
        loader.dispose()
    return Layout(root, loader.places) if root is not None else None


def outside_aliases(text: str, operations: Sequence[Operation]) -> list[Operation]:
    """Return the operations on values that the text has at their place, not in an alias or a merged key."""
    layout = compose_layout(text) if "*" in text else None
    if layout is None:
        return [*operations]
    places = (each["path"].rpartition("/")[0] if each["op"] == "add" else each["path"] for each in operations)
    return [each for each, place in zip(operations, places, strict=True) if not layout.shared_place(place)]


def with_own_values(text: str, operations: Sequence[Operation], result: Any, wanted: Any) -> list[Operation]:
    """Return operations that come closer to `wanted`, the value of a document, than those that gave `result`.

    An operation inside an alias or a merged key becomes one that sets the whole value there. If there is none, what is
    shared with a place that has changed, and differs from `wanted`, gets its own value.
    """
    layout = compose_layout(text)
    if layout is None:
        return [*operations]
    parents = (operation["path"].rpartition("/")[0] for operation in operations)
    places = {*map(layout.shared_place, parents)} - {""}
    places = places or {*map(layout.shared_place, _differences(result, wanted))} - {""}
    own = sorted(place for place in places if not is_inside(place, places))
    return [
        *({"op": "replace", "path": place, "value": jsonpointer.resolve_pointer(wanted, place, None)} for place in own),
        *(each for each in operations if each["path"] not in places and not is_inside(each["path"], places)),
    ]


def _differences(value: Any, wanted: Any, pointer: str = "") -> Iterator[str]:
    """Yield the JSON Pointers of what differs."""
    if isinstance(value, dict) and isinstance(wanted, dict):
        for key in {**value, **wanted}:
            if key in value and key in wanted:
                yield from _differences(value[key], wanted[key], f"{pointer}/{escape(key)}")
            else:
                yield f"{pointer}/{escape(key)}"
    elif isinstance(value, list) and isinstance(wanted, list) and len(value) == len(wanted):
        for number, (item, other) in enumerate(zip(value, wanted, strict=True)):
            yield from _differences(item, other, f"{pointer}/{number}")
    elif value != wanted:
        yield pointer
