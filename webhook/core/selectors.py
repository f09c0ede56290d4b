"""Matching names against what a policy selects: globs, accounts and labels, compiled when a policy is loaded.

`*` stands for any run of characters but `/`, and nothing else is special: so `https://*.corp.example.com`
allows no other host's path. Globs are matched without regular expressions, in time that grows with the
length of the name alone, because names are chosen by the people whom the policy restrains.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from webhook.core.formatting import listing

Labels = frozenset[tuple[str, str]]
"""Labels as a set of pairs: a selector matches where it is a subset, and the set hashes quickly."""

T = TypeVar("T")


def labels(of: Mapping[str, str | None] | None) -> Labels:
    """Return a map of labels as a set; null is the empty value."""
    return frozenset([(key, value or "") for key, value in of.items()]) if of else frozenset()


def glob_matches(pattern: str, name: str) -> bool:
    """Say whether `name` matches `pattern` as a whole."""
    if pattern.count("/") != name.count("/"):  # so that a name of nothing but slashes is never split
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
    """A list of names and globs; an empty one matches nothing (whoever holds it says what empty means)."""

    patterns: tuple[str, ...] = ()

    @cached_property
    def exact(self) -> frozenset[str]:
        """Those without a `*`."""
        return frozenset(pattern for pattern in self.patterns if "*" not in pattern)

    @cached_property
    def wild(self) -> tuple[str, ...]:
        """Those with one."""
        return tuple(pattern for pattern in self.patterns if "*" in pattern)

    @cached_property
    def _wild_by_slashes(self) -> Mapping[int, list[str]]:
        """Those with one, by the number of their slashes: a name with another number matches none."""
        grouped: dict[int, list[str]] = {}
        for pattern in self.wild:
            grouped.setdefault(pattern.count("/"), []).append(pattern)
        return grouped

    @cached_property
    def listed(self) -> str:
        """At most ten of them, quoted, for a message."""
        return listing(self.patterns)

    def match(self, name: str) -> bool:
        """Say whether any of them matches."""
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
        """Say whether any of them is this account."""
        return self._names.match(name) or (bool(self._full) and self._full.match(f"{namespace}/{name}"))

    def __bool__(self) -> bool:
        return bool(self.patterns)


@dataclass
class Index(Generic[T]):
    """Things found by a name: those with exact names by hash, those with globs by what stands before the `*`.

    A look-up costs the same for ten things as for ten thousand, as long as few of them match; it yields
    candidates in the order in which they were added.
    """

    _exact: dict[str, list[tuple[int, T]]] = field(default_factory=dict)
    _prefixes: dict[str, list[tuple[int, T, str]]] = field(default_factory=dict)
    _always: list[tuple[int, T]] = field(default_factory=list)
    _count: int = 0

    @classmethod
    def of(cls, things: Iterable[tuple[Sequence[str], T]]) -> "Index[T]":
        """Return an index of things, each with its patterns; without any it is found under every name."""
        index = cls()
        for patterns, thing in things:
            index._add(patterns, thing)
        return index

    def _add(self, patterns: Sequence[str], thing: T) -> None:
        place = self._count
        self._count += 1
        if not patterns:
            self._always.append((place, thing))
        for pattern in patterns:
            prefix, star, _ = pattern.partition("*")
            if star:
                self._prefixes.setdefault(prefix, []).append((place, thing, pattern))
            else:
                self._exact.setdefault(pattern, []).append((place, thing))

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted({len(prefix) for prefix in self._prefixes}))

    def find(self, *names: str) -> list[T]:
        """Return the things whose patterns match any of `names`, in order, each once."""
        found = dict(self._always)
        for name in names:
            found.update(self._exact.get(name, ()))
            for length in self._lengths:
                for place, thing, pattern in self._prefixes.get(name[:length], ()):
                    if place not in found and glob_matches(pattern, name):
                        found[place] = thing
        return [found[place] for place in sorted(found)]
