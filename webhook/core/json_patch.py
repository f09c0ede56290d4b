"""JSON Patch (RFC 6902), put together from the edits that findings carry. Never made by diffing.

Edits name places in the object as it came. `assemble` orders them so that each still means what it
meant: first what is set, then what is appended, last what is removed, from the end of a list to its start.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from webhook.core.bounded_cache import BoundedCache
from webhook.core.structs import FrozenStruct

Operation = dict[str, Any]
"""One operation of a JSON Patch: `op`, `path` and, where it has one, `value`."""

encode = msgspec.json.Encoder().encode
"""Returns operations as JSON."""


class Put(FrozenStruct, frozen=True):
    """Set the member at `pointer`; `replaces` says that it is there already."""

    pointer: str
    value: Any
    replaces: bool = False


class Append(FrozenStruct, frozen=True):
    """Add `value` to the end of the list at `pointer`; `exists` says that the list is there."""

    pointer: str
    value: Any
    exists: bool


class Remove(FrozenStruct, frozen=True):
    """Take away what is at `pointer`."""

    pointer: str


Edit = Put | Append | Remove


def assemble(edits: Iterable[Edit]) -> tuple[Operation, ...]:
    """Return the operations that make all the edits, whatever their order.

    An edit inside something that another one removes is dropped, a place is set once, and the elements of
    a list that isn't there yet arrive together with it.
    """
    puts: dict[str, Operation] = {}
    appends: dict[str, Operation] = {}
    elements: list[Operation] = []
    removals: set[str] = set()
    for edit in edits:
        if isinstance(edit, Append):
            if edit.exists:
                elements.append({"op": "add", "path": edit.pointer + "/-", "value": edit.value})
            elif edit.pointer in appends:
                appends[edit.pointer]["value"].append(edit.value)
            else:
                appends[edit.pointer] = {"op": "add", "path": edit.pointer, "value": [edit.value]}
        elif isinstance(edit, Remove):
            removals.add(edit.pointer)
        elif edit.pointer not in puts:
            op = "replace" if edit.replaces else "add"
            puts[edit.pointer] = {"op": op, "path": edit.pointer, "value": edit.value}
    operations = [*puts.values(), *appends.values(), *elements]
    return tuple(_without(operations, removals) if removals else operations)


def _without(operations: list[Operation], removals: set[str]) -> list[Operation]:
    kept = [operation for operation in operations if not _within(operation["path"], removals)]
    outermost = [pointer for pointer in removals if not _within(_parent(pointer), removals)]
    return kept + [{"op": "remove", "path": pointer} for pointer in sorted(outermost, key=_place, reverse=True)]


def prefix_edits(prefix: str, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Return the edits, made to the object that stands at `prefix` within another."""
    return tuple(_moved(prefix, edit) for edit in edits)


def escape(key: str) -> str:
    """Return `key` as a reference token of a JSON Pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """Return the key that a reference token of a JSON Pointer (RFC 6901) names."""
    return token.replace("~1", "/").replace("~0", "~")


def json_path(pointer: str) -> str:
    """Return a JSON Pointer the way people write it: `spec.containers[0].env[2]`."""
    shown = _paths.get(pointer)
    if shown is None:
        shown = _json_path(pointer)
        _paths.put(pointer, shown)
    return shown


PATHS_BYTES = 1 << 20
_paths: BoundedCache[str, str] = BoundedCache(PATHS_BYTES)
"""The same few places are found in most pods."""


def _json_path(pointer: str) -> str:
    shown = ""
    for token in pointer.split("/")[1:]:
        if token.isdigit():
            shown += f"[{token}]"
        elif "." in token or "~" in token:
            shown += f"[{unescape(token)}]"
        else:
            shown += f".{token}" if shown else token
    return shown


def string_map(pointer: str, current: Mapping[str, str] | None, key: str, value: str) -> Put:
    """Return the edit that sets one key of a map of strings that may not be there yet."""
    if current is None:
        return Put(pointer, {key: value})
    return Put(f"{pointer}/{escape(key)}", value, replaces=key in current)


def _moved(prefix: str, edit: Edit) -> Edit:
    if isinstance(edit, Put):
        return Put(prefix + edit.pointer, edit.value, edit.replaces)
    if isinstance(edit, Append):
        return Append(prefix + edit.pointer, edit.value, edit.exists)
    return Remove(prefix + edit.pointer)


def _parent(pointer: str) -> str:
    return pointer.rpartition("/")[0]


def _within(pointer: str, removals: set[str]) -> bool:
    while pointer:
        if pointer in removals:
            return True
        pointer = _parent(pointer)
    return False


def _place(pointer: str) -> list[tuple[int, str]]:
    return [(int(token), "") if token.isdigit() else (-1, token) for token in pointer.split("/")]
