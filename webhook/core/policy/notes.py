"""The mistakes in a policy, noted while it is read."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import yaml

_MOST_NODES = 200_000


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in a policy: where (`path` as in the document, `line` from 1) and what."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.path}: {self.message}" if self.path else f"line {self.line}: {self.message}"


@dataclass
class Notes:
    """What was noted while reading; `line_of` turns a line of the document (from 0) into one of its file."""

    line_of: Callable[[int], int] = lambda line: line + 1
    mistakes: list[Mistake] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    nodes_left: int = _MOST_NODES

    def wrong(self, path: str, node: yaml.Node, message: str) -> None:
        """Note a mistake at a node."""
        self.mistakes.append(Mistake(path, self.line_of(node.start_mark.line), message))

    def wrong_at(self, path: str, message: str) -> None:
        """Note a mistake at a path that was read already."""
        line = next((self.lines[up] for up in _upwards(path) if up in self.lines), 1)
        self.mistakes.append(Mistake(path, line, message))

    def enter(self, path: str, node: yaml.Node) -> bool:
        """Remember where a path stands; say whether to go on (aliases of aliases make endless documents)."""
        self.lines[path] = self.line_of(node.start_mark.line)
        self.nodes_left -= 1
        if self.nodes_left == 0:
            self.wrong(path, node, "the document is too large: aliases repeat it over and over")
        return self.nodes_left > 0


def _upwards(path: str) -> Iterable[str]:
    while path:
        yield path
        path = re.sub(r"(\.[^.\[]*|\[\d+\]|^[^.\[]+)$", "", path)
    yield ""
