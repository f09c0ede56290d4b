"""What the page is made of, as values: tables, their cells, and bars that stand in cells.

Every text in here is taken as it is and escaped by the template; whoever fills it makes names `plain` first.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from webhook.core.text import plain

WIDEST = 100
"""What a bar that fills its cell measures."""
_SHADES = 4


class Segment(NamedTuple):
    """A part of a bar: which series it is of, where it begins and how wide it is, of `WIDEST`."""

    series: str
    start: float
    width: float


Bar = tuple[Segment, ...]


class Line(NamedTuple):
    """A line in a cell: a sign before it (as of a change), what is done, the rule, and the rest."""

    sign: str
    word: str
    rule: str
    rest: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: text, lines or bars.

    `sort` is what it is sorted by in place of its text, `look` names its classes. `shade` is from 0 (none) to 4, of a
    cell in a map of counts.
    """

    text: str = ""
    sort: int | None = None
    look: str = ""
    shade: int = 0
    lines: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `series` is the colour that its numbers have in the bars, `head` says that it names the row."""

    label: str
    number: bool = False
    series: str = ""
    head: bool = False
    bars: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row, and what it is filtered by: for each filter all values that it has."""

    cells: Sequence[Cell]
    values: Mapping[str, Iterable[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnFilter:
    """A choice among values that rows have; `name` is theirs in `Row.values`."""

    name: str
    label: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: `rows` can be gone through once, and are `size` many; without filters it can't be searched either.

    `ordered` says that its rows stand in an order that has a meaning, and in no other.
    """

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: Iterable[Row]
    size: int
    filters: tuple[ColumnFilter, ...] = ()
    note: str = ""
    ordered: bool = False


def number(value: int, simulated: int | None = None) -> Cell:
    """Return a cell with a number, and behind an arrow what it would be under the simulated policy if that differs."""
    if simulated in (None, value):
        return Cell(str(value), value)
    return Cell(f"{value} → {simulated}", simulated)


def name(text: str) -> Cell:
    """Return a cell with what somebody else wrote."""
    return Cell(plain(text))


def shaded(cell: Cell, most: int) -> Cell:
    """Return a number's cell with a shade that says how it compares with the greatest."""
    value = cell.sort or 0
    shade = 0 if not value else 1 + min(_SHADES - 1, value * _SHADES // max(most + 1, 1))
    return Cell("" if cell.text == "0" else cell.text, value, shade=shade)


def stacked(counts: Mapping[str, int], most: int) -> Bar:
    """Return a bar with a segment for each series that counts anything; `most` would fill the cell."""
    return tuple(_stacked(counts, max(most, 1)))


def _stacked(counts: Mapping[str, int], most: int) -> Iterator[Segment]:
    start = 0
    for series, count in counts.items():
        if count:
            yield Segment(series, round(WIDEST * start / most, 2), round(WIDEST * count / most, 2))
            start += count


def parted(line: str) -> Line:
    """Return a line as the text has it (`reject: rule: what is wrong`), taken apart."""
    sign = line[0] if line[:2] in ("+ ", "- ") else ""
    word, rule, rest = line.removeprefix(f"{sign} ").split(": ", 2)
    return Line({"-": "−"}.get(sign, sign), word, rule, rest)  # noqa: RUF001 - a minus sign is as wide as a plus
