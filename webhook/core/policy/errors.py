"""The mistakes in a policy, noted while it is read."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import yaml

from webhook.core.formatting import did_you_mean

MOST_BYTES = 64 << 10
"""About how much text of mistakes is kept. Beyond that they are only counted: nobody reads on."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in a policy: where (`path` as in the document, `line` from 1; 0 where it has none) and what."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        return f"{line}{self.path}: {self.message}" if self.path else f"{line}{self.message}"


@dataclass
class Notes:
    """What was noted while reading; `line_of` turns a line of the document (from 0) into one of its file."""

    line_of: Callable[[int], int] = lambda line: line + 1
    lines: dict[str, int] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    _kept: list[Mistake] = field(default_factory=list, init=False)
    _bytes: int = field(default=0, init=False)
    _left_out: int = field(default=0, init=False)
    _left_out_from: int = field(default=0, init=False)

    def wrong(self, path: str, node: yaml.Node, message: str) -> None:
        """Note a mistake at a node."""
        self._note(Mistake(path, self.line_of(node.start_mark.line), message))

    def wrong_at(self, path: str, message: str) -> None:
        """Note a mistake at a path that was read already."""
        line = next((self.lines[up] for up in _upwards(path) if up in self.lines), 1)
        self._note(Mistake(path, line, message))

    def enter(self, path: str, node: yaml.Node) -> None:
        """Remember where a path stands."""
        self.lines[path] = self.line_of(node.start_mark.line)

    def guess(self, wrong: str, known: Iterable[str]) -> str:
        """Return a 'did you mean' for a word, as long as there is room for it: looking is slow."""
        return "" if self._full else did_you_mean(wrong, known)

    def mistakes(self) -> tuple[Mistake, ...]:
        """Return the mistakes in the order of their lines; where there are too many, at the end how many more."""
        kept = sorted(self._kept, key=lambda mistake: mistake.line)
        if self._left_out:
            kept.append(Mistake("", self._left_out_from, f"and {self._left_out} more mistakes"))
        return tuple(kept)

    @property
    def _full(self) -> bool:
        return self._bytes >= MOST_BYTES

    def _note(self, mistake: Mistake) -> None:
        if self._full:
            self._left_out_from = self._left_out_from or mistake.line
            self._left_out += 1
        else:
            self._bytes += len(str(mistake).encode())
            self._kept.append(mistake)


def _upwards(path: str) -> Iterable[str]:
    while path:
        yield path
        path = re.sub(r"(\.[^.\[]*|\[\d+\]|^[^.\[]+)$", "", path)
    yield ""
