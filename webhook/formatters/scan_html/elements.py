"""The elements of the page, as values: tables, their cells, and bars in cells.

The template escapes every text; names from the cluster are made `plain` before.
"""

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from webhook.core.formatting import plain
from webhook.formatters.scan_findings import FindingLine

MAX_WIDTH = 100
"""The width of a bar that fills its cell."""
_SHADES = 4
_WIDE, _WIDEST = 8, 11
"""From how many columns with text on a table needs a wide window."""
_MIN_ROWS = 2
"""The least number of rows in which a column can say the same."""


class Segment(NamedTuple):
    """A part of a bar: its series, start and width, in parts of `MAX_WIDTH`."""

    series: str
    start: float
    width: float


Bar = tuple[Segment, ...]
_BREAK = "\n"
"""Marks where a line may end; `plain` leaves none in a text."""
_PLACES = re.compile(r"[._:@](?=[A-Za-z])|(?<=[^/\s])/(?=\w)|(?<=[A-Za-z])-(?=\d)|\w{24}(?=\w)")
"""After a dot, a slash or a hyphen, and in a very long word; not in a number, an address or a date."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with text, lines or bars.

    `sort` replaces the text as the sort key, `look` are CSS classes, `shade` (0 to 4) colours a cell of a heat map. The
    text links to `link`.
    """

    text: str = ""
    sort: int | None = None
    look: str = ""
    shade: int = 0
    lines: tuple[FindingLine, ...] = ()
    bars: tuple[Bar, ...] = ()
    link: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `series` is the colour of its numbers in the bars, `head` marks the column that names the row."""

    label: str
    number: bool = False
    series: str = ""
    head: bool = False
    bars: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row, and its values for each filter."""

    cells: Sequence[Cell]
    values: Mapping[str, Iterable[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnFilter:
    """A choice among values of rows; `name` is their key in `Row.values`."""

    name: str
    label: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a row for each item, made when it is written; an item may be a row already.

    Without filters it has no search field. `ordered` says that the order of the rows has a meaning, so that they cannot
    be sorted. `shared` are columns that have the same cell in every row; the caption shows them.
    """

    key: str
    caption: str
    columns: Sequence[Column]
    items: Sequence[Any]
    row: Callable[[Any], Row] = lambda row: row
    filters: Sequence[ColumnFilter] = ()
    note: str = ""
    ordered: bool = False
    shared: Sequence[tuple[Column, Cell]] = ()

    @property
    def width_class(self) -> str:
        """The CSS class of a table that needs a wide window, after a space; empty for others."""
        texts = sum(not (column.number or column.bars) for column in self.columns)
        return " widest" if texts >= _WIDEST else " wide" if texts >= _WIDE else ""

    def condensed(self) -> "Table":
        """Return the table without the columns that say the same in every row; those are `shared`."""
        shared = _shared_cells(self)
        if not shared:
            return self
        indexes = [index for index in range(len(self.columns)) if index not in shared]

        def row(item: Any) -> Row:
            whole = self.row(item)
            return replace(whole, cells=[whole.cells[index] for index in indexes])

        columns = [self.columns[index] for index in indexes]
        return replace(
            self, columns=columns, row=row, shared=[(self.columns[index], cell) for index, cell in shared.items()]
        )


def _shared_cells(table: Table) -> dict[int, Cell]:
    """Return the cells that are the same in every row, by column; none if there is only one row."""
    if len(table.items) < _MIN_ROWS:
        return {}
    rows = map(table.row, table.items)
    candidates = {index: cell for index, cell in enumerate(next(rows).cells) if _is_droppable(table.columns[index])}
    for row in rows:
        candidates = {index: cell for index, cell in candidates.items() if row.cells[index] == cell}
        if not candidates:
            break
    return candidates


def _is_droppable(column: Column) -> bool:
    return not (column.head or column.bars)


def number(value: int, simulated: int | None = None) -> Cell:
    """Return a cell with a number, and the simulated policy's number if that differs."""
    if simulated in (None, value):
        return Cell(str(value), value)
    return Cell(f"{value} → {simulated}", simulated)


def name(text: str) -> Cell:
    """Return a cell with text from the cluster."""
    return Cell(plain(text))


def breakable(text: str) -> str:
    """Return a text as HTML in which lines may end within names, paths and URLs, and before a bracket."""
    marked = _PLACES.sub(rf"\g<0>{_BREAK}", text).replace("[", f"{_BREAK}[")
    return html.escape(marked).replace(_BREAK, "<wbr>")


def shaded(cell: Cell, most: int) -> Cell:
    """Return a number's cell with a shade relative to the greatest number."""
    value = cell.sort or 0
    shade = 0 if not value else 1 + min(_SHADES - 1, value * _SHADES // max(most + 1, 1))
    return Cell("" if cell.text == "0" else cell.text, value, shade=shade)


def stacked(counts: Mapping[str, int], most: int) -> Bar:
    """Return a bar with a segment for each series; `most` fills the cell."""
    segments = []
    start = 0
    scale = MAX_WIDTH / max(most, 1)
    for series, count in counts.items():
        if count:
            segments.append(Segment(series, round(start * scale, 2), round(count * scale, 2)))
            start += count
    return tuple(segments)
