"""A map that never changes and is cheap to change all the same: a change gives a new one, which shares most of the old.

It is a dict for each part of its keys, by their hash. Copied for a change are the parts in which something changed,
each of a bounded size, and the tuple of parts; so a reader needs no lock, and one change of a hundred thousand costs
about as much as one of a thousand.
"""

from collections.abc import ItemsView, Iterator, Mapping
from itertools import chain
from typing import TypeVar, overload

FULL = 256
"""How many keys a part holds at the most, on average."""

D = TypeVar("D")
V = TypeVar("V")


class Parted(Mapping[str, V]):
    """The map."""

    __slots__ = ("_count", "_mask", "_parts")

    def __init__(self, content: dict[str, V] | None = None) -> None:
        """Take what is in it: the dict is the map's own from then on."""
        content = content or {}
        self._count = len(content)
        self._mask = (1 << (self._count // FULL).bit_length()) - 1
        self._parts: tuple[dict[str, V], ...] = (content,)
        if self._mask:
            self._parts = tuple({} for _ in range(self._mask + 1))
            for key, value in content.items():
                self._parts[hash(key) & self._mask][key] = value

    def changed(self, changes: Mapping[str, V | None]) -> "Parted[V]":
        """Return this map with these values, and without the keys whose value is None."""
        parts = list(self._parts)
        count = self._count
        for at in {hash(key) & self._mask for key in changes}:
            parts[at] = dict(parts[at])
        for key, value in changes.items():
            part = parts[hash(key) & self._mask]
            count -= len(part)
            if value is None:
                part.pop(key, None)
            else:
                part[key] = value
            count += len(part)
        after: Parted[V] = Parted.__new__(Parted)
        after._count, after._mask, after._parts = count, self._mask, tuple(parts)
        return after if count <= FULL * len(parts) else Parted(dict(after.items()))

    def __getitem__(self, key: str) -> V:
        return self._parts[hash(key) & self._mask][key]

    @overload
    def get(self, key: str, /) -> V | None: ...
    @overload
    def get(self, key: str, /, default: D) -> V | D: ...
    def get(self, key: str, /, default: D | None = None) -> V | D | None:
        """Return a value, or the default where there is none."""
        return self._parts[hash(key) & self._mask].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._parts[hash(key) & self._mask]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._parts)

    def __len__(self) -> int:
        return self._count

    def items(self) -> ItemsView[str, V]:
        """Return the pairs, many times as fast as looking each key up."""
        return _Items(self)


class _Items(ItemsView[str, V]):
    _mapping: Parted[V]

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return chain.from_iterable(part.items() for part in self._mapping._parts)  # noqa: SLF001 - its own map's
