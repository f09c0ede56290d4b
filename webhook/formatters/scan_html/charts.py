"""The charts: tables with a bar in each row, so that the numbers can be read without seeing the bars."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from webhook.core.formatting import plain
from webhook.core.policy.model import Action
from webhook.formatters import scan_summary as summary
from webhook.formatters.scan_html.elements import Cell, Column, Row, Table, number, shaded, stacked
from webhook.scan.report import LegacySecret, ScanReport

_USE_AGES = ((7, "in the last 7 days"), (30, "8 to 30 days ago"), (90, "31 to 90 days ago"))
_LONG_AGO, _UNKNOWN = "over 90 days ago", "unknown"
_SECRET_SERIES = {"referenced": "referenced", summary.SAFE_TO_DELETE: "removable", "other": "other"}
_STATE_SERIES = {summary.NOW: "now", summary.RECREATED: "recreated", summary.SIMULATED: "simulated"}
_BARS = Column("", bars=True)
_ACTION_COLUMNS = tuple(Column(action, number=True, series=action) for action in summary.ACTIONS)


def outcomes(report: ScanReport) -> Table:
    """Return the numbers of pods, workloads and Secrets by outcome."""
    rows = []
    for title, now, simulated in summary.outcome_counts(report):
        counts = [
            {outcome.value: getattr(found, outcome) for outcome in summary.OUTCOMES}
            for found in (now, simulated)
            if found
        ]
        bars = tuple(stacked(found, sum(found.values())) for found in counts)
        cells = (number(*(found[outcome] for found in counts)) for outcome in summary.OUTCOMES)
        rows.append(Row([Cell(title), Cell(bars=bars), *cells]))
    series = tuple(Column(outcome, number=True, series=outcome) for outcome in summary.OUTCOMES)
    columns = (Column("Objects", head=True), _BARS, *series)
    caption = summary.IF_RECREATED.capitalize()
    return Table("outcomes", caption, columns, rows, len(rows), note=_note(report), ordered=True)


def by_rule(report: ScanReport) -> Table:
    """Return the numbers of findings by rule and action."""
    now = summary.rule_counts(report, simulated=False)
    simulated = summary.rule_counts(report, simulated=True) if report.simulated else {}
    most = _max_sum(now.values(), simulated.values())
    rows = []
    for rule in simulated or now:
        counts = [_actions(now.get(rule, {})), *([_actions(simulated[rule])] if simulated else [])]
        bars = tuple(stacked(found, most) for found in counts)
        cells = (number(*(found[action] for found in counts)) for action in summary.ACTIONS)
        rows.append(Row([Cell(rule, look="code"), Cell(bars=bars), *cells]))
    columns = (Column("Rule", head=True), _BARS, *_ACTION_COLUMNS)
    return Table("rules", "Findings by rule and action", columns, rows, len(rows), note=_note(report))


def by_namespace(report: ScanReport) -> Table:
    """Return the numbers of findings by namespace: a bar by action, and a heat map by rule. The worst are first."""
    rules = list(summary.rule_counts(report, simulated=report.simulated is not None))
    actions: dict[str, tuple[Counter[Action], Counter[Action]]] = {}
    cells: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for found in report.rule_counts:
        by_action = actions.setdefault(found.namespace, (Counter(), Counter()))
        by_rule = cells.setdefault(found.namespace, (Counter(), Counter()))
        for place, count in enumerate((found.count, found.simulated or 0)):
            by_action[place][found.action] += count
            by_rule[place][found.rule] += count
    shown = 2 if report.simulated else 1
    most = _max_sum(*(pair[:shown] for pair in actions.values()))
    most_in_cell = max(
        (count for pair in cells.values() for counts in pair[:shown] for count in counts.values()), default=0
    )
    rows = []
    for namespace, pair in sorted(actions.items(), key=lambda item: _severity(item[1][shown - 1])):
        bars = tuple(stacked(_actions(counts), most) for counts in pair[:shown])
        by_rule = cells[namespace]
        counts = (shaded(number(*(found[rule] for found in by_rule[:shown])), most_in_cell) for rule in rules)
        total = number(*(found.total() for found in pair[:shown]))
        rows.append(Row([Cell(plain(namespace)), Cell(bars=bars), total, *counts], {"namespace": [plain(namespace)]}))
    columns = (Column("Namespace", head=True), _BARS, Column("All", number=True))
    named = (*columns, *(Column(rule, number=True) for rule in rules))
    return Table("namespaces", "Findings by namespace and rule", named, rows, len(rows), note=_note(report))


def lifetimes(report: ScanReport) -> Table:
    """Return the numbers of tokens by lifetime: now, recreated and simulated."""
    found = summary.token_lifetimes(report)
    most = max((number for numbers in found.values() for number in numbers), default=0)
    rows = []
    for place, lifetime in enumerate(summary.LIFETIMES):
        counts = {state: numbers[place] for state, numbers in found.items()}
        bars = tuple(stacked({_STATE_SERIES[state]: count}, most) for state, count in counts.items())
        rows.append(Row([Cell(lifetime), Cell(bars=bars), *map(number, counts.values())]))
    series = (Column(state, number=True, series=_STATE_SERIES[state]) for state in found)
    return Table(
        "lifetimes",
        "Tokens in pods by lifetime",
        (Column("Lifetime", head=True), _BARS, *series),
        rows,
        len(rows),
        note="A pod that would be denied has no tokens any more. 3607 seconds for the API server mean a year.",
        ordered=True,
    )


def last_use(report: ScanReport) -> Table:
    """Return the numbers of legacy Secrets by last use and references."""
    ages = (*(age for _, age in _USE_AGES), _LONG_AGO, summary.NO_USE, _UNKNOWN)
    found: dict[str, Counter[str]] = {age: Counter() for age in ages}
    for secret in report.legacy_secrets:
        found[_use_age(secret, report)][_group(secret)] += 1
    most = _max_sum(found.values())
    rows = []
    for age, groups in found.items():
        bar = stacked({series: groups[group] for group, series in _SECRET_SERIES.items()}, most)
        cells = (number(groups[group]) for group in _SECRET_SERIES)
        rows.append(Row([Cell(age), Cell(bars=(bar,)), number(groups.total()), *cells]))
    series = (Column(group, number=True, series=series) for group, series in _SECRET_SERIES.items())
    columns = (Column("Last used", head=True), _BARS, Column("All", number=True), *series)
    note = f"Use recorded since {report.tracked_since}." if report.tracked_since else "Use is not recorded."
    return Table("last-use", "Legacy Secrets by last use", columns, rows, len(rows), note=note, ordered=True)


def _use_age(secret: LegacySecret, report: ScanReport) -> str:
    if secret.last_used is None:
        return summary.NO_USE if secret.unused_since else _UNKNOWN
    days = (report.time.date() - secret.last_used).days
    return next((age for most, age in _USE_AGES if days <= most), _LONG_AGO)


def _group(secret: LegacySecret) -> str:
    if secret.references:
        return "referenced"
    return summary.SAFE_TO_DELETE if secret.removable else "other"


def _actions(counts: Mapping[Action, int]) -> dict[str, int]:
    return {action.value: counts.get(action, 0) for action in summary.ACTIONS}


def _severity(counts: Mapping[Action, int]) -> list[int]:
    return [-counts.get(action, 0) for action in summary.ACTIONS]


def _max_sum(*groups: Iterable[Mapping[Any, int]]) -> int:
    return max((sum(counts.values()) for group in groups for counts in group), default=0)


def _note(report: ScanReport) -> str:
    if not report.simulated:
        return ""
    return "Upper bars: the policy. Lower bars, and numbers after an arrow: the simulated policy."
