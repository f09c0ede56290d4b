"""Selectors of a policy: globs, accounts and labels, compiled when a policy is loaded.

`*` matches any run of characters except `/`, and nothing else is special: `https://*.corp.example.com` does not match
another host's path. Globs are matched without regular expressions, in linear time: users whom the policy restricts
choose the names.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
    def _wild_by_slashes(self) -> Mapping[int, list[str]]:
        """The patterns with `*`, by the number of slashes: only names with the same number match."""
        grouped: dict[int, list[str]] = {}
        for pattern in self.wild:
            grouped.setdefault(pattern.count("/"), []).append(pattern)
        return grouped

    @cached_property
    def listed(self) -> str:
        """At most ten patterns, quoted, for a message."""
        return listing(self.patterns)

    def match(self, name: str) -> bool:
        """Return whether any pattern matches."""
        if name in self.exact:
            return True
        grouped = self._wild_by_slashes
        return bool(grouped) and any(glob_matches(pattern, name) for pattern in grouped.get(name.count("/"), ()))

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


@dataclass
class Index(Generic[T]):
    """Finds items by name: exact names by hash, globs by the text before the first `*`.

    A look-up takes the same time among ten items as among ten thousand, as long as few of them match.
    """

    _exact: dict[str, list[tuple[int, T]]] = field(default_factory=dict)
    _prefixes: dict[str, list[tuple[int, T, str]]] = field(default_factory=dict)
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
        place = self._count
        self._count += 1
        if not patterns:
            self._always.append((place, item))
        for pattern in patterns:
            prefix, star, _ = pattern.partition("*")
            if star:
                self._prefixes.setdefault(prefix, []).append((place, item, pattern))
            else:
                self._exact.setdefault(pattern, []).append((place, item))

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted({len(prefix) for prefix in self._prefixes}))

    def find(self, *names: str) -> list[T]:
        """Return the items with a pattern that matches any of the names, each once, in the order of the index."""
        items = dict(self._always)
        for name in names:
            items.update(self._exact.get(name, ()))
            for length in self._lengths:
                for place, item, pattern in self._prefixes.get(name[:length], ()):
                    if place not in items and glob_matches(pattern, name):
                        items[place] = item
        return [items[place] for place in sorted(items)]
