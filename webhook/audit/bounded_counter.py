"""Counting by name, in memory that doesn't grow with the number of names."""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, Self, TypeVar


class Counted(Protocol):
    """What is counted for one name."""

    @property
    def weight(self) -> int:
        """How often the name came up."""

    def take(self, other: Self) -> None:
        """Add what was counted for another name."""


T = TypeVar("T", bound=Counted)


class Table(Generic[T]):
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
                self._make_room()
            row = self._rows[name] = self._make()
        return row

    def __len__(self) -> int:
        return len(self._rows)

    def ranked(self) -> Iterator[tuple[str, T]]:
        """Yield names with what was counted, the most frequent first."""
        yield from sorted(self._rows.items(), key=lambda row: (-row[1].weight, row[0]))

    def in_order(self) -> Iterator[tuple[str, T]]:
        """Yield names with what was counted, by name."""
        yield from sorted(self._rows.items(), key=lambda row: row[0])

    def _make_room(self) -> None:
        ranked = list(self.ranked())
        kept = len(ranked) // 2
        for _, row in ranked[kept:]:
            self.rest.take(row)
        self.dropped += len(ranked) - kept
        self._rows = dict(ranked[:kept])
