"""A summary of audit logs as text: first what would break, then what was decided."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from webhook.audit.bounded_counter import BoundedCounter
from webhook.audit.events import COUNTED_OUTCOMES
from webhook.audit.summary import DecisionCounts, OutcomeCounts, Summary, TokenUseCount
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
    if summary.stats.apiserver:
        yield from _uses(_STALE, summary.stale, most, past=True)
        yield from _uses(_LEGACY, summary.legacy, most, past=False)
    elif summary.stats.tokenguard:
        yield from ("", _UNKNOWN)
    yield from _decisions("by tokenguard's log", summary.tokenguard, most)
    yield from _decisions("by the API server's log, which doesn't name the accounts of pods", summary.apiserver, most)


def _read(summary: Summary, logs: int) -> Iterator[str]:
    stats = summary.stats
    yield (
        f"{_count(logs, 'log')}, {_count(stats.lines, 'line')}: {stats.tokenguard} of tokenguard, {stats.apiserver} of "
        f"the API server, {stats.other} of neither, {stats.broken} broken"
    )
    if summary.first:
        yield f"from {time(summary.first)} to {time(summary.last)}"


def _uses(title: str, table: BoundedCounter[TokenUseCount], most: int, *, past: bool) -> Iterator[str]:
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
        for account, row in islice(table.most_frequent(), most)
    ]
    yield from _aligned(head, rows, {1})
    yield from _more(len(table) - len(rows) + table.dropped, "account")


def _short(seconds: int) -> str:
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _decisions(by: str, told: DecisionCounts, most: int) -> Iterator[str]:
    if not (told.requests or told.dry_runs.weight):
        return
    yield ""
    yield f"Decisions, {by}: {told.requests}"
    yield f"  {_in_words(told.outcomes)}"
    if told.dry_runs.weight:
        yield f"  dry runs, not counted here: {_in_words(told.dry_runs)}"
    if told.sampled:
        yield f"  of what was let through a sample is in the log: {told.sampled} lines, for {told.sampled_for:.0f}"
    yield from _table("rule", told.rules.most_frequent(), told.rules, most)
    yield from _table("namespace", told.namespaces.most_frequent(), told.namespaces, most)
    yield from _table("account", told.accounts.most_frequent(), told.accounts, most)
    yield from _table("day", reversed(list(told.days.by_name())), told.days, most)
    if len(told.exemptions):
        yield ""
        rows = [[key, str(row.weight)] for key, row in islice(told.exemptions.most_frequent(), most)]
        yield from _aligned(["exemption", "used"], rows, {1})
        yield from _more(len(told.exemptions) - len(rows) + told.exemptions.dropped, "exemption")


def _in_words(outcomes: OutcomeCounts) -> str:
    return ", ".join(f"{outcomes[outcome]} {outcome.name.lower()}" for outcome in COUNTED_OUTCOMES)


def _table(
    name: str, most_frequent: Iterable[tuple[str, OutcomeCounts]], table: BoundedCounter[OutcomeCounts], most: int
) -> Iterator[str]:
    if not len(table):
        return
    yield ""
    shown = list(islice(most_frequent, most))
    rows = [[key or "(unknown)", *(str(count or "") for count in row.counts)] for key, row in shown]
    if table.dropped:
        rows.append([_OTHERS, *(str(count or "") for count in table.rest.counts)])
    columns = [name, *(outcome.name.lower() for outcome in COUNTED_OUTCOMES)]
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
