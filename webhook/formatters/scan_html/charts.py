"""The plots: tables whose rows have a bar, so that the numbers stand beside it and can be read without seeing it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from webhook.core.policy.model import Action
from webhook.core.text import plain
from webhook.formatters import scan_figures as figures
from webhook.formatters.scan_html.elements import Cell, Column, Row, Table, number, shaded, stacked
from webhook.scan.report import LegacySecret, ScanReport

_SINCE = ((7, "in the last 7 days"), (30, "8 to 30 days ago"), (90, "31 to 90 days ago"))
_LONG_AGO, _NEVER, _UNKNOWN = "over 90 days ago", "not since it is known", "not known"
REFERRED, CAN_GO, NEITHER = "referred to", "can go", "neither"
_SERIES = {REFERRED: "referred", CAN_GO: "can-go", NEITHER: "neither"}
_STATES = {figures.NOW: "now", figures.AGAIN: "again", figures.SIMULATED: "simulated"}
_BARS = Column("", bars=True)


def outcomes(report: ScanReport) -> Table:
    """Return what would come of pods, owners and Secrets."""
    rows = []
    for what, now, simulated in figures.outcomes(report):
        counted = [
            {one.value: getattr(counts, one.value) for one in figures.OUTCOMES} for counts in (now, simulated) if counts
        ]
        bars = tuple(stacked(one, sum(one.values())) for one in counted)
        cells = (number(*(one[outcome] for one in counted)) for outcome in figures.OUTCOMES)
        rows.append(Row([Cell(what), Cell(bars=bars), *cells]))
    columns = (Column("What there is", head=True), _BARS)
    series = tuple(Column(word, number=True, series=one.value) for one, word in figures.OUTCOMES.items())
    return Table("outcomes", "If created again", (*columns, *series), rows, len(rows), note=_two(report), ordered=True)


def by_rule(report: ScanReport) -> Table:
    """Return how often each rule is broken."""
    found = figures.rules(report, simulated=False)
    then = figures.rules(report, simulated=True) if report.simulated else {}
    most = _most(found.values(), then.values())
    rows = []
    for rule in then or found:
        counted = [_actions(found.get(rule, {})), *([_actions(then[rule])] if then else [])]
        bars = tuple(stacked(one, most) for one in counted)
        cells = (number(*(one[action] for one in counted)) for action in figures.ACTIONS)
        rows.append(Row([Cell(rule, look="code"), Cell(bars=bars), *cells]))
    columns = (Column("Rule", head=True), _BARS, *_action_columns())
    return Table("rules", "Findings by rule and what is done", columns, rows, len(rows), note=_two(report))


def by_namespace(report: ScanReport) -> Table:
    """Return how many findings each namespace has: a bar by what is done, and a map by rule. The worst come first."""
    rules = list(figures.rules(report, simulated=report.simulated is not None))
    actions: dict[str, tuple[Counter[Action], Counter[Action]]] = {}
    cells: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for one in report.rule_counts:
        by_action = actions.setdefault(one.namespace, (Counter(), Counter()))
        by_rule = cells.setdefault(one.namespace, (Counter(), Counter()))
        for place, count in enumerate((one.count, one.simulated or 0)):
            by_action[place][one.action] += count
            by_rule[place][one.rule] += count
    shown = 2 if report.simulated else 1
    most = _most(*(pair[:shown] for pair in actions.values()))
    most_in_cell = max((count for pair in cells.values() for one in pair[:shown] for count in one.values()), default=0)
    rows = []
    for namespace, found in sorted(actions.items(), key=lambda one: _worst_first(one[1][shown - 1])):
        bars = tuple(stacked(_actions(one), most) for one in found[:shown])
        by_rule = cells[namespace]
        counts = (shaded(number(*(one[rule] for one in by_rule[:shown])), most_in_cell) for rule in rules)
        total = number(*(one.total() for one in found[:shown]))
        rows.append(Row([Cell(plain(namespace)), Cell(bars=bars), total, *counts], {"namespace": [plain(namespace)]}))
    columns = (Column("Namespace", head=True), _BARS, Column("All", number=True))
    named = (*columns, *(Column(rule, number=True) for rule in rules))
    return Table("namespaces", "Findings by namespace and rule", named, rows, len(rows), note=_two(report))


def lifetimes(report: ScanReport) -> Table:
    """Return how long the tokens in pods live: now, after the policy, and after the simulated one."""
    found = figures.lifetimes(report)
    most = max((one for counts in found.values() for one in counts), default=0)
    rows = []
    for place, lifetime in enumerate(figures.LIFETIMES):
        counts = {state: numbers[place] for state, numbers in found.items()}
        bars = tuple(stacked({_STATES[state]: count}, most) for state, count in counts.items())
        rows.append(Row([Cell(lifetime), Cell(bars=bars), *map(number, counts.values())]))
    series = (Column(state, number=True, series=_STATES[state]) for state in found)
    columns = (Column("They live", head=True), _BARS, *series)
    return Table(
        "lifetimes",
        "How long the tokens in pods live",
        columns,
        rows,
        len(rows),
        note="A pod that would be rejected has no tokens any more. 3607 seconds for the API server mean a year.",
        ordered=True,
    )


def last_use(report: ScanReport) -> Table:
    """Return when legacy Secrets were last used, and whether anything refers to them."""
    found: dict[str, Counter[str]] = {what: Counter() for what in (*_buckets(), _NEVER, _UNKNOWN)}
    for secret in report.legacy_secrets:
        found[_used(secret, report)][_kind(secret)] += 1
    most = _most(found.values())
    rows = []
    for when, kinds in found.items():
        bar = stacked({series: kinds[kind] for kind, series in _SERIES.items()}, most)
        cells = (number(kinds[kind]) for kind in _SERIES)
        rows.append(Row([Cell(when), Cell(bars=(bar,)), number(kinds.total()), *cells]))
    series = (Column(kind, number=True, series=series) for kind, series in _SERIES.items())
    columns = (Column("Last used", head=True), _BARS, Column("All", number=True), *series)
    known = f"Their use is known since {report.tracked_since}." if report.tracked_since else "Their use is not known."
    return Table("last-use", "Legacy Secrets by last use", columns, rows, len(rows), note=known, ordered=True)


def _buckets() -> Iterator[str]:
    yield from (what for _, what in _SINCE)
    yield _LONG_AGO


def _used(secret: LegacySecret, report: ScanReport) -> str:
    if secret.last_used is None:
        return _NEVER if secret.unused_since else _UNKNOWN
    days = (report.time.date() - secret.last_used).days
    return next((what for most, what in _SINCE if days <= most), _LONG_AGO)


def _kind(secret: LegacySecret) -> str:
    if secret.references:
        return REFERRED
    return CAN_GO if secret.removable else NEITHER


def _action_columns() -> Iterator[Column]:
    yield from (Column(action, number=True, series=action) for action in figures.ACTIONS)


def _actions(counts: Mapping[Action, int]) -> dict[str, int]:
    """Return the counts in the order in which they are shown."""
    return {str(action): counts.get(action, 0) for action in figures.ACTIONS}


def _worst_first(counts: Mapping[Action, int]) -> list[int]:
    return [-counts.get(action, 0) for action in figures.ACTIONS]


def _most(*groups: Iterable[Mapping[Any, int]]) -> int:
    return max((sum(one.values()) for group in groups for one in group), default=0)


def _two(report: ScanReport) -> str:
    if not report.simulated:
        return ""
    return (
        "The upper bars are under the policy, the lower ones under the simulated policy; an arrow leads to its number."
    )
