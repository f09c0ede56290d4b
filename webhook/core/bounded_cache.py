"""A cache that is bounded in bytes, because its content comes from people who may send very long strings."""

import sys
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K")
V = TypeVar("V")

ENTRY_BYTES = 128
"""The largest size of an entry in the dict itself: the dict doubles, and is a third full then."""
_MAX_SHARE = 64


def memory_size(value: object) -> int:
    """Return the bytes of a value with all that it contains: strings, collections and structs, as if none were shared.

    Any other object counts without what it refers to.
    """
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(memory_size(key) + memory_size(item) for key, item in value.items())
    if isinstance(value, tuple | list | frozenset | set):
        return size + sum(map(memory_size, value))
    if isinstance(value, msgspec.Struct):
        return size + sum(memory_size(getattr(value, name)) for name in value.__struct_fields__)
    return size


class BoundedCache(Generic[K, V]):
    """Results by key, in at most `max_bytes`. A full cache is emptied, because a result can be computed again.

    An entry that is larger than a 64th of the bound is not kept. Threads may share a cache: all they share is a dict.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[K, V], int] | None = None) -> None:
        """`size_of` returns the bytes of a key and its value; by default the `memory_size` of both."""
        self.max_bytes = max_bytes
        self._size_of = size_of or (lambda key, value: memory_size(key) + memory_size(value))
        self._entries: dict[K, V] = {}
        self.size = 0
        self.get: Callable[[K], V | None] = self._entries.get  # the dict's own, for speed

    def put(self, key: K, value: V) -> None:
        """Store a value, unless it is too large."""
        size = self._size_of(key, value) + ENTRY_BYTES
        if size > self.max_bytes // _MAX_SHARE or key in self._entries:
            return
        if self.size + size > self.max_bytes:
            self._entries.clear()
            self.size = 0
        self._entries[key] = value
        self.size += size

    def __len__(self) -> int:
        return len(self._entries)
