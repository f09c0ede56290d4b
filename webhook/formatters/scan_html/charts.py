"""The charts: tables with a bar in each row, so that the numbers can be read without seeing the bars."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from webhook.core.formatting import plain
from webhook.formatters import scan_summary as summary
from webhook.formatters.scan_html.elements import Cell, Column, Row, Table, number, shaded, stacked
from webhook.scan.report import LegacySecret, ScanReport

_USE_AGES = ((7, "in the last 7 days"), (30, "8 to 30 days ago"), (90, "31 to 90 days ago"))
_LONG_AGO, _UNKNOWN = "over 90 days ago", "unknown"
_GROUPS = ("referenced", summary.SAFE_TO_DELETE, "other")
_COLOURS = {summary.SAFE_TO_DELETE: "removable", summary.RECREATED: "recreated"}
"""Series whose colour is not named like them."""
_NO_NAMESPACE = "(cluster-scoped)"
_Entry = tuple[str, Sequence[Mapping[str, int]]]
"""The label of a row, and the numbers by series of each of its bars."""


def outcomes(report: ScanReport) -> Table:
    """Return the numbers of pods, workloads and Secrets by outcome."""
    series = tuple(outcome.value for outcome in summary.OUTCOMES)
    entries = [
        (title, [{outcome: getattr(counts, outcome) for outcome in series} for counts in (now, simulated) if counts])
        for title, now, simulated in summary.outcome_counts(report)
        if now
    ]
    rows = _rows(entries, series, fills=True)
    compared = "If recreated under the current policy, and under the simulated one"
    caption = compared if report.simulated else summary.IF_RECREATED.capitalize()
    return Table("outcomes", caption, _columns("Objects", series), rows, note=_note(report), ordered=True)


def by_rule(report: ScanReport) -> Table:
    """Return the numbers of findings by rule and action."""
    now = summary.rule_counts(report, simulated=False)
    simulated = summary.rule_counts(report, simulated=True) if report.simulated else {}
    entries = [
        (rule, [_actions(now.get(rule, {})), *([_actions(simulated[rule])] if simulated else [])])
        for rule in simulated or now
    ]
    rows = _rows(entries, summary.ACTIONS, look="code")
    caption = "Findings by rule and action"
    return Table("rules", caption, _columns("Rule", summary.ACTIONS), rows, note=_note(report))


def by_namespace(report: ScanReport) -> Table:
    """Return the numbers of findings by namespace: a bar by action, and a heat map by rule. The worst are first."""
    rules = list(summary.rule_counts(report, simulated=report.simulated is not None))
    policies = ("count", "simulated") if report.simulated else ("count",)
    by_name: dict[str, list[Counter[str]]] = {}
    for count in report.rule_counts:
        counters = by_name.setdefault(count.namespace, [Counter() for _ in policies])
        for policy, counter in zip(policies, counters, strict=True):
            counter.update({name: getattr(count, policy) for name in (count.action, count.rule)})
    ordered = sorted(by_name.items(), key=lambda item: [-item[1][-1][action] for action in summary.ACTIONS])
    most = max((counter[rule] for counters in by_name.values() for counter in counters for rule in rules), default=0)
    heads = _rows(
        [(plain(name) or _NO_NAMESPACE, list(map(_actions, counters))) for name, counters in ordered], (), total=True
    )
    rows = [
        Row([*head.cells, *(shaded(number(*(counter[rule] for counter in counters)), most) for rule in rules)])
        for head, (_, counters) in zip(heads, ordered, strict=True)
    ]
    columns = [*_columns("Namespace", (), total=True), *(Column(rule, number=True) for rule in rules)]
    return Table("namespaces", "Findings by namespace and rule", columns, rows, note=_note(report))


def lifetimes(report: ScanReport) -> Table:
    """Return the numbers of tokens by lifetime: now, recreated and simulated."""
    counts = summary.token_lifetimes(report)
    entries = [
        (lifetime, [{state: number} for state, numbers in counts.items() if (number := numbers[index]) is not None])
        for index, lifetime in enumerate(summary.LIFETIMES)
    ]
    entries = [(lifetime, bars) for lifetime, bars in entries if bars]
    note = (
        "A pod that would be denied has no tokens if recreated. Kubernetes extends a token of 3607 seconds for the API"
        " server to a year; such a token is capped to 3600 seconds, even if the maximum is longer."
    )
    if len(entries) < len(summary.LIFETIMES):
        note = f"{note} Secrets could not be read, so it is not known how many tokens never expire."
    caption, columns = "Tokens in pods by lifetime", _columns("Lifetime", counts)
    return Table("lifetimes", caption, columns, _rows(entries, counts), note=note, ordered=True)


def last_use(report: ScanReport) -> Table:
    """Return the numbers of legacy Secrets by last use and references."""
    ages = (*(age for _, age in _USE_AGES), _LONG_AGO, summary.NO_USE, _UNKNOWN)
    groups_by_age = {age: dict.fromkeys(_GROUPS, 0) for age in ages}
    for secret in report.legacy_secrets:
        groups_by_age[_use_age(secret, report)][_group(secret)] += 1
    rows = _rows([(age, [groups]) for age, groups in groups_by_age.items()], _GROUPS, total=True)
    columns = _columns("Last used", _GROUPS, total=True)
    recorded = summary.recorded_text(report)
    note = f"{recorded[0].upper()}{recorded[1:]}."
    if any(groups_by_age[_UNKNOWN].values()):
        note += " Unknown: no use is recorded, and the day on which recording began is not known."
    return Table("last-use", "Legacy Secrets by last use", columns, rows, note=note, ordered=True)


def _columns(head: str, series: Iterable[str], *, total: bool = False) -> list[Column]:
    numbers = [Column(name, number=True, series=_COLOURS.get(name, name)) for name in series]
    return [Column(head, head=True), Column("", bars=True), *([Column("All", number=True)] if total else []), *numbers]


def _rows(
    entries: Sequence[_Entry], series: Iterable[str], *, fills: bool = False, total: bool = False, look: str = ""
) -> list[Row]:
    """Return rows with a bar for each counts of an entry; each bar `fills` its cell, or only the longest does."""
    longest = max((sum(counts.values()) for _, bars in entries for counts in bars), default=0)
    rows = []
    for label, counters in entries:
        sums = [sum(counts.values()) for counts in counters]
        coloured = ({_COLOURS.get(name, name): count for name, count in counts.items()} for counts in counters)
        bars = [stacked(counts, own if fills else longest) for counts, own in zip(coloured, sums, strict=True)]
        totals = [number(*sums)] if total else []
        numbers = (number(*(counts[name] for counts in counters if name in counts)) for name in series)
        rows.append(Row([Cell(label, look=look), Cell(bars=tuple(bars)), *totals, *numbers]))
    return rows


def _actions(counts: Mapping[Any, int]) -> dict[str, int]:
    return {action.value: counts.get(action, 0) for action in summary.ACTIONS}


def _use_age(secret: LegacySecret, report: ScanReport) -> str:
    if secret.last_used is None:
        return summary.NO_USE if secret.unused_since else _UNKNOWN
    days = (report.time.date() - secret.last_used).days
    return next((age for most, age in _USE_AGES if days <= most), _LONG_AGO)


def _group(secret: LegacySecret) -> str:
    if secret.references:
        return "referenced"
    return summary.SAFE_TO_DELETE if secret.removable else "other"


def _note(report: ScanReport) -> str:
    if not report.simulated:
        return ""
    return "Upper bars: the current policy. Lower bars, and numbers after an arrow: the simulated policy."
