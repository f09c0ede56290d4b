"""A summary of audit logs as text: first what would break, then what was decided."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from webhook.audit.bounded_counter import Table
from webhook.audit.events import FATES
from webhook.audit.summary import Decisions, Fates, Summary, Uses
from webhook.core.text import plain
from webhook.formatters.audit_json import time

_STALE = "tokens past their hour: their clients would break once the API server's token is capped"
_LEGACY = "legacy tokens, from Secrets"
_UNKNOWN = (
    "Of tokens past their hour and of legacy tokens nothing is known: that is in the API server's audit log alone"
)
_OTHERS = "(others)"
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60))


def lines(summary: Summary, logs: int, most: int) -> Iterator[str]:
    """Yield the lines about so many logs; of each table at most the first `most` rows."""
    yield from _read(summary, logs)
    if summary.notes.events:
        yield from _uses(_STALE, summary.stale, most, past=True)
        yield from _uses(_LEGACY, summary.legacy, most, past=False)
    elif summary.notes.own:
        yield from ("", _UNKNOWN)
    yield from _decisions("by tokenguard's log", summary.own, most)
    yield from _decisions("by the API server's log, which doesn't name the accounts of pods", summary.told, most)


def _read(summary: Summary, logs: int) -> Iterator[str]:
    notes = summary.notes
    yield (
        f"{_count(logs, 'log')}, {_count(notes.lines, 'line')}: {notes.own} of tokenguard, {notes.events} of the API "
        f"server, {notes.other} of neither, {notes.broken} broken"
    )
    if summary.first:
        yield f"from {time(summary.first)} to {time(summary.last)}"


def _uses(title: str, table: Table[Uses], most: int, *, past: bool) -> Iterator[str]:
    yield ""
    if not len(table):
        yield f"No account uses {title.partition(':')[0]}"
        return
    count = len(table) + table.dropped
    yield f"{_count(count, 'account')} {'uses' if count == 1 else 'use'} {title}"
    head = ["account", "requests", "last", *(["past by"] if past else ["noted"]), "from"]
    rows = [
        [
            account or "(unknown)",
            str(row.requests),
            time(row.last) or "",
            _short(row.past) if past else ", ".join(row.about),
            ", ".join([*(f"pod {pod}" for pod in row.pods), *row.agents]),
        ]
        for account, row in islice(table.ranked(), most)
    ]
    yield from _aligned(head, rows, {1})
    yield from _more(len(table) - len(rows) + table.dropped, "account")


def _short(seconds: int) -> str:
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _decisions(by: str, told: Decisions, most: int) -> Iterator[str]:
    if not (told.requests or told.dry_runs.weight):
        return
    yield ""
    yield f"Decisions, {by}: {told.requests}"
    yield f"  {_in_words(told.fates)}"
    if told.dry_runs.weight:
        yield f"  dry runs, not counted here: {_in_words(told.dry_runs)}"
    if told.sampled:
        yield f"  of what was let through a sample is in the log: {told.sampled} lines, for {told.sampled_for:.0f}"
    yield from _table("rule", told.rules.ranked(), told.rules, most)
    yield from _table("namespace", told.namespaces.ranked(), told.namespaces, most)
    yield from _table("account", told.accounts.ranked(), told.accounts, most)
    yield from _table("day", reversed(list(told.days.in_order())), told.days, most)
    if len(told.exemptions):
        yield ""
        rows = [[key, str(row.weight)] for key, row in islice(told.exemptions.ranked(), most)]
        yield from _aligned(["exemption", "used"], rows, {1})
        yield from _more(len(told.exemptions) - len(rows) + told.exemptions.dropped, "exemption")


def _in_words(fates: Fates) -> str:
    return ", ".join(f"{fates[fate]} {fate.name.lower()}" for fate in FATES)


def _table(name: str, ranked: Iterable[tuple[str, Fates]], table: Table[Fates], most: int) -> Iterator[str]:
    if not len(table):
        return
    yield ""
    shown = list(islice(ranked, most))
    rows = [[key or "(unknown)", *(str(count or "") for count in row.counts)] for key, row in shown]
    if table.dropped:
        rows.append([_OTHERS, *(str(count or "") for count in table.rest.counts)])
    columns = [name, *(fate.name.lower() for fate in FATES)]
    yield from _aligned(columns, rows, set(range(1, len(columns))))
    yield from _more(len(table) - len(shown), name)


def _more(count: int, of: str) -> Iterator[str]:
    if count:
        yield f"  and {_count(count, f'more {of}')}: --rows, or --output json"


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> Iterator[str]:
    """Yield the lines of a table; `right` are the columns that are aligned there."""
    cells = [[plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        yield (
            "  "
            + "  ".join(
                cell.rjust(width) if at in right else cell.ljust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        )


def _count(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"
