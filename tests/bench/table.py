"""What is measured, in a table of Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison: the figure that is measured, what it is compared with, and the ratio.

    `goal` is the ratio that it should be at most, or at least where it `should_be_more`; None: none is set.
    """

    what: str
    measured: str
    compared: str
    ratio: float
    goal: float | None = None
    should_be_more: bool = False

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of its row."""
        return self.what, self.measured, self.compared, f"{self.ratio:.2f}", self._verdict

    @property
    def _verdict(self) -> str:
        if self.goal is None:
            return ""
        met = self.ratio >= self.goal if self.should_be_more else self.ratio <= self.goal
        return f"{'at least' if self.should_be_more else 'at most'} {self.goal:g}: {'met' if met else 'not met'}"


HEAD = ("what", "measured", "compared with", "ratio", "goal")


def lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, its columns aligned."""
    every = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in every
    ]
    return [shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]]
