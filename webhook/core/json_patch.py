"""JSON Patch (RFC 6902), assembled from the edits of findings, never by diffing.

Edits name places in the original object. `assemble` orders them so that each keeps its meaning: first what is set, then
what is appended, last what is removed, from the end of a list to its start.
"""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from webhook.core.bounded_cache import BoundedCache
from webhook.core.structs import FrozenStruct

Operation = dict[str, Any]
"""One operation of a JSON Patch: `op`, `path` and, if it has one, `value`."""

encode = msgspec.json.Encoder().encode
"""Returns operations as JSON."""


class Put(FrozenStruct, frozen=True):
    """Set the member at `pointer`; `replaces` says that it exists."""

    pointer: str
    value: Any
    replaces: bool = False


class Append(FrozenStruct, frozen=True):
    """Add `value` to the end of the list at `pointer`; `exists` says that the list does."""

    pointer: str
    value: Any
    exists: bool


class Remove(FrozenStruct, frozen=True):
    """Remove what is at `pointer`."""

    pointer: str


Edit = Put | Append | Remove


def assemble(edits: Iterable[Edit]) -> tuple[Operation, ...]:
    """Return the operations that make all the edits, whatever their order.

    An edit inside something that another one removes is dropped, a place is set once, and the elements of a list that
    doesn't exist are added together with it.
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
    return tuple(_with_removals(operations, removals) if removals else operations)


def _with_removals(operations: list[Operation], removals: set[str]) -> list[Operation]:
    remaining = [operation for operation in operations if not _is_within(operation["path"], removals)]
    outermost = [pointer for pointer in removals if not is_inside(pointer, removals)]
    return remaining + [{"op": "remove", "path": pointer} for pointer in sorted(outermost, key=_sort_key, reverse=True)]


def is_inside(pointer: str, removed: Collection[str]) -> bool:
    """Return whether a place is inside one that is removed; no place is inside itself."""
    return _is_within(_parent(pointer), removed)


def _parent(pointer: str) -> str:
    return pointer.rpartition("/")[0]


def _is_within(pointer: str, removals: Collection[str]) -> bool:
    while pointer:
        if pointer in removals:
            return True
        pointer = _parent(pointer)
    return False


def _sort_key(pointer: str) -> list[tuple[int, str]]:
    return [(int(token), "") if token.isdigit() else (-1, token) for token in pointer.split("/")]


def prefix_edits(prefix: str, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Return the edits of the object at `prefix` as edits of the object around it."""
    return tuple(msgspec.structs.replace(edit, pointer=prefix + edit.pointer) for edit in edits)


def escape(key: str) -> str:
    """Return `key` as a reference token of a JSON Pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """Return the key that a reference token of a JSON Pointer (RFC 6901) names."""
    return token.replace("~1", "/").replace("~0", "~")


PATHS_BYTES = 1 << 20
_paths: BoundedCache[str, str] = BoundedCache(PATHS_BYTES)
"""The same few places are found in most pods."""


def json_path(pointer: str) -> str:
    """Return a JSON Pointer as people write it: `spec.containers[0].env[2]`."""
    path = _paths.get(pointer)
    if path is None:
        path = _json_path(pointer)
        _paths.put(pointer, path)
    return path


def _json_path(pointer: str) -> str:
    path = ""
    for token in pointer.split("/")[1:]:
        if token.isdigit():
            path += f"[{token}]"
        elif "." in token or "~" in token:
            path += f"[{unescape(token)}]"
        else:
            path += f".{token}" if path else token
    return path
