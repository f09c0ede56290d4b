"""Counts by name, in bounded memory."""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, Self, TypeVar


class Count(Protocol):
    """What is counted for one name."""

    @property
    def weight(self) -> int:
        """The number of occurrences."""

    def add(self, other: Self) -> None:
        """Add the count of another name."""


T = TypeVar("T", bound=Count)


class BoundedCounter(Generic[T]):
    """A count for each of at most `max_names` names; when it is full, the less frequent half moves into `others`.

    A single name's count is a lower bound, since the name may have been evicted and come back; the total is exact.
    """

    def __init__(self, make: Callable[[], T], max_names: int = 20_000) -> None:
        self._make = make
        self._max_names = max_names
        self._counts: dict[str, T] = {}
        self.others = make()
        self.dropped = 0

    def at(self, name: str) -> T:
        """Return the count of a name."""
        count = self._counts.get(name)
        if count is None:
            if len(self._counts) >= self._max_names:
                self._evict()
            count = self._counts[name] = self._make()
        return count

    def __len__(self) -> int:
        return len(self._counts)

    def most_frequent(self) -> Iterator[tuple[str, T]]:
        """Yield names and counts, the most frequent first."""
        yield from sorted(self._counts.items(), key=lambda item: (-item[1].weight, item[0]))

    def by_name(self) -> Iterator[tuple[str, T]]:
        """Yield names and counts by name."""
        yield from sorted(self._counts.items(), key=lambda item: item[0])

    def _evict(self) -> None:
        ranked = list(self.most_frequent())
        kept = len(ranked) // 2
        for _, count in ranked[kept:]:
            self.others.add(count)
        self.dropped += len(ranked) - kept
        self._counts = dict(ranked[:kept])
