"""A summary of audit logs as text: stale and legacy tokens, then decisions."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from webhook.audit.events import COUNTED_OUTCOMES
from webhook.audit.summary import AuditSummary, DecisionCounts, OutcomeCounter, RecordedOutcomes, TokenUseCounter
from webhook.core.formatting import counted, plain
from webhook.formatters.audit_json import format_time
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions

_STALE = "stale tokens: clients that do not re-read their token and break once the API server token is capped"
_LEGACY = "legacy tokens, from Secrets"
_REFUSED = "Disabled legacy tokens that were used, and refused (other requests of these clients may be among them)"
_UNKNOWN = "Stale and legacy tokens: unknown, only the API server's audit log records their use"
_OUTCOMES = [outcome.name.lower() for outcome in COUNTED_OUTCOMES]
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60))


def format_summary(summary: AuditSummary, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the summary; each table has at most `options.rows` rows (0: all)."""
    stats, rows = summary.stats, options.rows or None
    yield (
        f"{counted(stats.logs, 'log')}, {counted(stats.lines, 'line')}: {stats.tokenguard} from tokenguard, "
        f"{stats.apiserver} from the API server, {stats.other} other, {stats.unreadable} unreadable"
    )
    if summary.first:
        yield f"from {format_time(summary.first)} to {format_time(summary.last)}"
    if stats.apiserver:
        yield from _token_uses(_STALE, summary.stale, rows, stale=True)
        yield from _token_uses(_LEGACY, summary.legacy, rows, stale=False)
        yield from _refused_uses(summary, rows)
    elif stats.tokenguard:
        yield from ("", _UNKNOWN)
    yield from _decisions("in tokenguard's log", summary.tokenguard, rows)
    yield from _decisions("in the API server's log, which does not name the accounts of pods", summary.apiserver, rows)


def _token_uses(title: str, counter: TokenUseCounter, max_rows: int | None, *, stale: bool) -> Iterator[str]:
    yield ""
    if not len(counter):
        yield f"No account used {title.partition(':')[0]}"
        return
    yield f"{counted(len(counter) + counter.dropped, 'account')} used {title}"
    rows = [
        [
            account or "(unknown)",
            str(row.requests),
            format_time(row.last) or "",
            _duration(row.seconds_stale) if stale else ", ".join(row.details),
            ", ".join([*(f"pod {pod}" for pod in row.pods), *row.clients]),
        ]
        for account, row in islice(counter.most_frequent(), max_rows)
    ]
    yield from _aligned(["account", "requests", "last", "stale for" if stale else "details", "clients"], rows, {1})
    yield from _more(len(counter) - len(rows) + counter.dropped, "account")


def _refused_uses(summary: AuditSummary, max_rows: int | None) -> Iterator[str]:
    """Yield who used disabled tokens; nothing if nobody did."""
    counter = summary.refused
    if not len(counter):
        return
    rows = [
        [secret, str(row.requests), format_time(row.last) or "", address, client or "(unknown)"]
        for (secret, address, client), row in islice(summary.refused_uses(), max_rows)
    ]
    yield from ("", _REFUSED)
    yield from _aligned(["secret", "requests", "last", "address", "client"], rows, {1})
    yield from _more(len(counter) - len(rows) + counter.dropped, "client")


def _duration(seconds: int) -> str:
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _decisions(where: str, decisions: DecisionCounts, max_rows: int | None) -> Iterator[str]:
    if not (decisions.requests or decisions.dry_runs.weight):
        return
    yield ""
    yield f"Decisions {where}: {decisions.requests}"
    yield f"  {_in_words(decisions.outcomes)}"
    if decisions.dry_runs.weight:
        yield f"  dry runs, counted separately: {_in_words(decisions.dry_runs)}"
    if decisions.sampled_records:
        requests = counted(round(decisions.represented), "request")
        yield f"  sampled records: {decisions.sampled_records}, representing {requests}"
    for name, counter in (
        ("rule", decisions.rules), ("namespace", decisions.namespaces), ("account", decisions.accounts),
    ):  # fmt: skip
        yield from _table(name, counter.most_frequent(), counter, max_rows)
    yield from _table("day", reversed(list(decisions.days.by_name())), decisions.days, max_rows)
    if len(decisions.exemptions):
        yield ""
        rows = [[key, str(row.weight)] for key, row in islice(decisions.exemptions.most_frequent(), max_rows)]
        yield from _aligned(["exemption", "requests"], rows, {1})
        yield from _more(len(decisions.exemptions) - len(rows) + decisions.exemptions.dropped, "exemption")


def _in_words(counts: RecordedOutcomes) -> str:
    return ", ".join(f"{count} {outcome}" for count, outcome in zip(counts.counts, _OUTCOMES, strict=True))


def _table(
    name: str, entries: Iterable[tuple[str, RecordedOutcomes]], counter: OutcomeCounter, max_rows: int | None
) -> Iterator[str]:
    if not len(counter):
        return
    yield ""
    shown = list(islice(entries, max_rows))
    rows = [[key or "(unknown)", *(str(count or "") for count in row.counts)] for key, row in shown]
    if counter.dropped:
        rows.append(["(others)", *(str(count or "") for count in counter.others.counts)])
    yield from _aligned([name, *_OUTCOMES], rows, set(range(1, len(_OUTCOMES) + 1)))
    yield from _more(len(counter) - len(shown), name)


def _more(count: int, name: str) -> Iterator[str]:
    if count:
        yield f"  and {counted(count, f'more {name}')}: use --rows or --output json"


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> Iterator[str]:
    """Yield the lines of a table; `right` are the right-aligned columns."""
    cells = [[plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"  {'  '.join(padded)}".rstrip()
