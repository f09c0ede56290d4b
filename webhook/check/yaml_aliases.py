"""Where the aliases of a YAML document are in its text, and patches that give each use of an anchor its own value."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonpatch
import jsonpointer
import yaml
from yaml.composer import Composer

from webhook.check.source_map import find
from webhook.core.json_patch import Operation, escape, unescape

if TYPE_CHECKING or not hasattr(yaml, "CSafeLoader"):
    _Loader = yaml.SafeLoader
else:  # with libyaml's parser: many times faster; its composer does not say where aliases are
    _Loader = type("_Loader", (Composer, yaml.CSafeLoader), {"__init__": yaml.CSafeLoader.__init__})

_MERGE = "<<"


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

    def aliases(self) -> Iterator[tuple[str, yaml.Node]]:
        """Yield the JSON Pointer of each alias, and the node of its anchor."""
        pending: list[tuple[str, yaml.Node]] = [("", self.root)]
        while pending:
            pointer, node = pending.pop()
            for index, (name, child) in enumerate(_children(node)):
                place = f"{pointer}/{escape(name)}"
                if isinstance(node, yaml.CollectionNode) and self.alias(node, index):
                    yield place, child
                else:
                    pending.append((place, child))


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


def with_own_values(text: str, operations: Sequence[Operation], value: Any) -> list[Operation]:
    """Return operations for `value`, the document's, with the same result, which change nothing that others refer to.

    A change inside an alias or a merged key sets its whole value. An alias of what changes keeps its value, and so does
    a merged key. Raises `ValueError` if duplicate keys make that impossible.
    """
    layout = compose_layout(text)
    if layout is None:
        return [*operations]
    try:
        return _with_own_values(layout, operations, value)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise ValueError from error


def _with_own_values(layout: Layout, operations: Sequence[Operation], value: Any) -> list[Operation]:
    operations_here: list[Operation] = []
    own: dict[str, None] = {}
    changed: dict[int, set[str]] = {}
    """The nodes that change, each with its keys that do."""
    for operation in operations:
        place = _own_place(layout, operation["path"], changed)
        if place == operation["path"]:
            operations_here.append(operation)
        else:
            own[place] = None
    replaced = tuple(f"{operation['path']}/" for operation in operations_here)
    for pointer, anchor in layout.aliases():
        if id(anchor) in changed and not pointer.startswith(replaced):
            own |= dict.fromkeys(_uses(layout, pointer, changed[id(anchor)], value))
    taken = {operation["path"] for operation in operations_here}
    return [
        *({"op": "replace", "path": place, "value": _value(value, place, operations)} for place in own.keys() - taken),
        *operations_here,
    ]


def _own_place(layout: Layout, pointer: str, changed: dict[int, set[str]]) -> str:
    """Return the first place on the way that is an alias or a merged key, or else `pointer`; add what it changes."""
    node, place = layout.root, ""
    passed: list[tuple[yaml.Node, str]] = []
    for token in pointer.split("/")[1:]:
        name = unescape(token)
        place += f"/{token}"
        passed.append((node, name))
        children = _children(node)
        index = max((number for number, (key, _) in enumerate(children) if key == name), default=None)
        if place == pointer:
            if index is not None:
                passed += ((each, "") for each in _below(children[index][1]))
            break
        if index is None or (isinstance(node, yaml.CollectionNode) and layout.alias(node, index)):
            return place
        node = children[index][1]
    for each, name in passed:
        changed.setdefault(id(each), set()).add(name)
    return place


def _uses(layout: Layout, pointer: str, names: set[str], value: Any) -> Iterator[str]:
    """Yield the places that an alias at `pointer` gives the values of its anchor, of which `names` change."""
    tokens = pointer.split("/")
    if _MERGE not in tokens:
        yield pointer
        return
    at = tokens.index(_MERGE)
    mapping, merged = "/".join(tokens[:at]), [token for token in tokens[at + 1 :] if not token.isdecimal()]
    given = jsonpointer.resolve_pointer(value, mapping)
    for token in merged[:1] or map(escape, sorted(names)):
        if unescape(token) in given and not find(layout.root, f"{mapping}/{token}").exists:
            yield f"{mapping}/{token}"


def _children(node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(str(number), item) for number, item in enumerate(node.value)]
    return []


def _below(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield a node and all below it, each once."""
    pending, seen = [node], {id(node)}
    while pending:
        yield (current := pending.pop())
        below = [child for _, child in _children(current) if id(child) not in seen]
        seen |= {id(child) for child in below}
        pending += below


def _value(value: Any, place: str, operations: Sequence[Operation]) -> Any:
    """Return the value of a place after the operations below it."""
    below = [
        operation | {"path": operation["path"].removeprefix(place)}
        for operation in operations
        if operation["path"].startswith(f"{place}/")
    ]
    return jsonpatch.apply_patch(jsonpointer.resolve_pointer(value, place), below)
