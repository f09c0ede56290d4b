"""Counting by name, in memory that doesn't grow with the number of names."""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, Self, TypeVar


class Count(Protocol):
    """What is counted for one name."""

    @property
    def weight(self) -> int:
        """How often the name came up."""

    def add(self, other: Self) -> None:
        """Add what was counted for another name."""


T = TypeVar("T", bound=Count)


class BoundedCounter(Generic[T]):
    """What was counted for each name, and for all that had to go.

    When there is room for no more, the half that came up least goes. What is told of a name is then the least it can
    be, since it may have gone before and come back; the sum over all is exact.
    """

    def __init__(self, make: Callable[[], T], most: int = 20_000) -> None:
        """Have room for `most` names; `make` gives what counts for one."""
        self._make = make
        self._most = most
        self._rows: dict[str, T] = {}
        self.rest = make()
        self.dropped = 0

    def at(self, name: str) -> T:
        """Return what counts for a name."""
        row = self._rows.get(name)
        if row is None:
            if len(self._rows) >= self._most:
                self._evict()
            row = self._rows[name] = self._make()
        return row

    def __len__(self) -> int:
        return len(self._rows)

    def most_frequent(self) -> Iterator[tuple[str, T]]:
        """Yield names with what was counted, the most frequent first."""
        yield from sorted(self._rows.items(), key=lambda row: (-row[1].weight, row[0]))

    def by_name(self) -> Iterator[tuple[str, T]]:
        """Yield names with what was counted, by name."""
        yield from sorted(self._rows.items(), key=lambda row: row[0])

    def _evict(self) -> None:
        most_frequent = list(self.most_frequent())
        kept = len(most_frequent) // 2
        for _, row in most_frequent[kept:]:
            self.rest.add(row)
        self.dropped += len(most_frequent) - kept
        self._rows = dict(most_frequent[:kept])
