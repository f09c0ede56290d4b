"""Selectors of a policy: globs, accounts and labels, compiled when a policy is loaded.

`*` matches any run of characters except `/`, and nothing else is special: `https://*.corp.example.com` does not match
another host's path. Globs are matched without regular expressions, in linear time: users whom the policy restricts
choose the names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import merge
from operator import itemgetter
from typing import Generic, TypeVar

from webhook.core.formatting import listing

Labels = frozenset[tuple[str, str]]
"""Labels as a set of pairs: a selector matches if it is a subset."""

T = TypeVar("T")


def labels(of: Mapping[str, str | None] | None) -> Labels:
    """Return a map of labels as a set; null is the empty value."""
    return frozenset([(key, value or "") for key, value in of.items()]) if of else frozenset()


def glob_matches(pattern: str, name: str) -> bool:
    """Return whether the whole name matches."""
    if pattern.count("/") != name.count("/"):  # do not split a name of many slashes
        return False
    return all(map(_segment_matches, pattern.split("/"), name.split("/")))


def _segment_matches(pattern: str, name: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return first == name
    last = rest.pop()
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in rest:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


@dataclass
class Index(Generic[T]):
    """Finds items by name: exact names by hash, globs by the text before the first `*`, or behind the last if longer.

    A look-up takes the same time among ten items as among ten thousand, as long as few of them match.
    """

    _exact: dict[str, list[tuple[int, T]]] = field(default_factory=dict)
    _starts: dict[str, list[tuple[int, T, str]]] = field(default_factory=dict)
    _ends: dict[str, list[tuple[int, T, str]]] = field(default_factory=dict)
    _always: list[tuple[int, T]] = field(default_factory=list)
    _count: int = 0

    @classmethod
    def of(cls, items: Iterable[tuple[Sequence[str], T]]) -> "Index[T]":
        """Return an index of items with their patterns; an item without patterns matches every name."""
        index = cls()
        for patterns, item in items:
            index._add(patterns, item)
        return index

    def _add(self, patterns: Sequence[str], item: T) -> None:
        position = self._count
        self._count += 1
        if not patterns:
            self._always.append((position, item))
        for pattern in patterns:
            start, star, rest = pattern.partition("*")
            end = rest.rpartition("*")[2]
            if not star:
                self._exact.setdefault(pattern, []).append((position, item))
            elif len(start) >= len(end):
                self._starts.setdefault(start, []).append((position, item, pattern))
            else:
                self._ends.setdefault(end, []).append((position, item, pattern))

    @cached_property
    def _lengths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The lengths of the starts, and of the ends."""
        return tuple(sorted(set(map(len, self._starts)))), tuple(sorted(set(map(len, self._ends))))

    def _globs(self, name: str) -> list[list[tuple[int, T, str]]]:
        """Return the globs that start or end like a name, by what they start or end with."""
        starts, ends = self._lengths
        lists = [self._starts.get(name[:length]) for length in starts]
        lists += [self._ends.get(name[-length:]) for length in ends]
        return [globs for globs in lists if globs]

    def find(self, *names: str) -> Iterator[T]:
        """Yield the items with a pattern that matches any of the names, each once, in the order of the index."""
        matches: list[Iterable[tuple[int, T]]] = [self._always] if self._always else []
        for name in names:
            if exact := self._exact.get(name):
                matches.append(exact)
            matches += [_matching(globs, name) for globs in self._globs(name)]
        last = -1
        for position, item in matches[0] if len(matches) == 1 else merge(*matches, key=itemgetter(0)):
            if position != last:
                yield item
            last = position


def _matching(globs: Iterable[tuple[int, T, str]], name: str) -> Iterator[tuple[int, T]]:
    return ((position, item) for position, item, pattern in globs if glob_matches(pattern, name))


@dataclass(frozen=True)
class Globs:
    """A list of names and globs; an empty one matches nothing."""

    patterns: tuple[str, ...] = ()

    @cached_property
    def exact(self) -> frozenset[str]:
        """The patterns without `*`."""
        return frozenset(pattern for pattern in self.patterns if "*" not in pattern)

    @cached_property
    def wild(self) -> tuple[str, ...]:
        """The patterns with `*`."""
        return tuple(pattern for pattern in self.patterns if "*" in pattern)

    @cached_property
    def listed(self) -> str:
        """What to use, for a message: at most ten of the names, and ten of the globs."""
        names = tuple(pattern for pattern in self.patterns if "*" not in pattern)
        parts = [f"one of {listing(names)}"] if names else []
        return ", or ".join([*parts, *([f"one like {listing(self.wild)}"] if self.wild else [])])

    @cached_property
    def _wild_index(self) -> Index[bool]:
        return Index.of(((pattern,), True) for pattern in self.wild)

    def match(self, name: str) -> bool:
        """Return whether any pattern matches."""
        return name in self.exact or (bool(self.wild) and next(self._wild_index.find(name), False))

    def __bool__(self) -> bool:
        return bool(self.patterns)


@dataclass(frozen=True)
class Accounts:
    """ServiceAccounts, each as `name` (of any namespace) or `namespace/name`."""

    patterns: tuple[str, ...] = ()

    @cached_property
    def _names(self) -> Globs:
        return Globs(tuple(pattern for pattern in self.patterns if "/" not in pattern))

    @cached_property
    def _full(self) -> Globs:
        return Globs(tuple(pattern for pattern in self.patterns if "/" in pattern))

    def match(self, namespace: str, name: str) -> bool:
        """Return whether any pattern matches the account."""
        return self._names.match(name) or (bool(self._full) and self._full.match(f"{namespace}/{name}"))

    def __bool__(self) -> bool:
        return bool(self.patterns)
