"""The mistakes in a policy, noted while it is read."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import yaml

from webhook.core.formatting import did_you_mean

MAX_BYTES = 64 << 10
"""About how much text of mistakes is kept. Beyond that they are only counted: nobody reads on."""


@dataclass(frozen=True, slots=True)
class PolicyError:
    """Something wrong in a policy: where (`path` as in the document, `line` from 1; 0 where it has none) and what."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        return f"{line}{self.path}: {self.message}" if self.path else f"{line}{self.message}"


@dataclass
class ErrorCollector:
    """What was noted while reading; `line_of` turns a line of the document (from 0) into one of its file."""

    line_of: Callable[[int], int] = lambda line: line + 1
    lines: dict[str, int] = field(default_factory=dict)
    key_paths: Mapping[str, str] = field(default_factory=dict)
    _errors: list[PolicyError] = field(default_factory=list, init=False)
    _bytes: int = field(default=0, init=False)
    _left_out: int = field(default=0, init=False)
    _left_out_from: int = field(default=0, init=False)

    def add(self, path: str, node: yaml.Node, message: str) -> None:
        """Note a mistake at a node."""
        self._add(PolicyError(path, self.line_of(node.start_mark.line), message))

    def add_at(self, path: str, message: str) -> None:
        """Note a mistake at a path that was read already."""
        line = next((self.lines[up] for up in _upwards(path) if up in self.lines), 1)
        self._add(PolicyError(path, line, message))

    def record_line(self, path: str, node: yaml.Node) -> None:
        """Remember where a path stands."""
        self.lines[path] = self.line_of(node.start_mark.line)

    def suggest(self, wrong: str, known: Iterable[str]) -> str:
        """Return a 'did you mean' for a word, as long as there is room for it: looking is slow."""
        return "" if self._full else did_you_mean(wrong, known)

    def sorted(self) -> tuple[PolicyError, ...]:
        """Return the mistakes in the order of their lines; where there are too many, at the end how many more."""
        kept = sorted(self._errors, key=lambda mistake: mistake.line)
        if self._left_out:
            kept.append(PolicyError("", self._left_out_from, f"and {self._left_out} more mistakes"))
        return tuple(kept)

    @property
    def _full(self) -> bool:
        return self._bytes >= MAX_BYTES

    def _add(self, mistake: PolicyError) -> None:
        if self._full:
            self._left_out_from = self._left_out_from or mistake.line
            self._left_out += 1
        else:
            self._bytes += len(str(mistake).encode())
            self._errors.append(mistake)


def _upwards(path: str) -> Iterable[str]:
    while path:
        yield path
        path = re.sub(r"(\.[^.\[]*|\[\d+\]|^[^.\[]+)$", "", path)
    yield ""
