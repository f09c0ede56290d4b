"""The summary of a scan: what fits a screen of 80 columns and 24 lines, whatever the cluster."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

from webhook.core.decision import Outcome
from webhook.core.text import counted, plain
from webhook.formatters import scan_figures as figures
from webhook.scan.audiences import ApiAudiences, AudienceSource
from webhook.scan.evaluation_result import Change
from webhook.scan.options import PolicyInfo, ScanFilters
from webhook.scan.report import OutcomeCounts, ScanReport

COLUMNS, ROWS = 80, 24
_NAME, _HEAD, _CELL = 11, 24, 14
_MILLION = 1_000_000
Field = tuple[str, str]
"""A line's name, and what it says; without a name it goes on with the one before."""


def summary_lines(report: ScanReport) -> list[str]:
    """Return the lines."""
    head = [*map(_line, about(report)), *_outcomes(report)]
    tail = [*_tokens(report), *map(_line, state(report))]
    return [_cut(line) for line in (*head, *_rules(report, ROWS - len(head) - len(tail)), *tail)]


def about(report: ScanReport) -> Iterator[Field]:
    """Yield what was scanned, when, and what it was judged by."""
    yield "cluster", f"{plain(report.cluster)}, {report.time:%Y-%m-%d %H:%M} UTC"
    yield "policy", _policy(report.policy)
    audiences = report.policy.api_audiences
    yield "audiences", _audiences(audiences)
    if report.simulated:
        yield "simulated", _policy(report.simulated)
        if report.simulated.api_audiences != audiences:
            yield "audiences", _audiences(report.simulated.api_audiences)
    summary = report.summary
    seen = f"{counted(summary.pods.all, 'pod')} of {counted(summary.owners.all, 'owner')}"
    finished = f"; {summary.finished_pods} finished" if summary.finished_pods else ""
    yield "scanned", f"{counted(summary.namespaces, 'namespace')}, {seen}{finished}"
    if alone := looked_at(report.filters):
        yield "", f"looked at alone: {alone}"
    if alone := told_of(report.filters):
        yield "", f"told alone (outcomes are by all): {alone}"


def state(report: ScanReport) -> Iterator[Field]:
    """Yield how its legacy Secrets, accounts and exemptions stand, and what could not be read."""
    if secrets := report.legacy_secrets:
        counts = Counter(use for secret in secrets for use in figures.uses(secret))
        told = ", ".join(f"{counts[use]} {use}" for use in figures.USES if use != figures.COPY)
        yield "legacy", f"{counted(len(secrets), 'Secret')}: {told}"
        yield "", f"their use is {f'known since {report.tracked_since}' if report.tracked_since else 'not known'}"
        if counts[figures.COPY]:
            yield "", f"{counts[figures.COPY]} {figures.COPY}: somebody put the text of one into it"
        if report.names_unread:
            yield "", "not all could be read that may name them (at the end)"
    if idle := len(report.accounts_without_permissions or ()):
        yield "accounts", f"{idle} with the API server's token mounted and no right to anything"
    for name, states in (("exemptions", report.exemptions), ("simulated", report.simulated_exemptions or ())):
        if states:
            yield name, f"{len(states)}: {', '.join(figures.standings(states))}"
    if report.unread:
        yield "NOT READ", f"{', '.join(one.what for one in report.unread)} (at the end)"


def changed(report: ScanReport) -> Iterator[Field]:
    """Yield for how many owners the simulated policy changes what."""
    counts = Counter(owner.change for owner in report.owners)
    told = [f"{counts[one]} {one}" for one in Change if counts[one] and one is not Change.NONE]
    lines = textwrap.wrap(", ".join(told), COLUMNS - _NAME) or ["no change"]
    yield from zip(chain(["owners"], repeat("")), lines, strict=False)


def _policy(used: PolicyInfo) -> str:
    return f"{used.revision}, {used.mode}: {plain(used.origin)}"


def _audiences(audiences: ApiAudiences) -> str:
    return f"the API server's, {_SOURCES[audiences.source]}: {', '.join(map(plain, audiences.names))}"


_SOURCES = {
    AudienceSource.POLICY: "by the policy",
    AudienceSource.GIVEN: "as given",
    AudienceSource.TOKEN: "by this scan's own token",
    AudienceSource.ASSUMED: "assumed (see --api-audience)",
}


def looked_at(filters: ScanFilters) -> str:
    """Return what was looked at alone, in words; nothing where it was all."""
    return _words(("namespace", filters.namespaces))


def told_of(filters: ScanFilters) -> str:
    """Return which findings are told alone, in words; nothing where it is all."""
    return _words(("rule", filters.rules), ("action", filters.actions))


def _words(*given: tuple[str, Iterable[str]]) -> str:
    return "; ".join(f"{what} {', '.join(map(plain, values))}" for what, values in given if values)


def _outcomes(report: ScanReport) -> Iterator[str]:
    """Yield the table of what would come of what there is, with the simulated policy's numbers behind an arrow."""
    yield _row("if created again", figures.OUTCOMES.values())
    for name, now, simulated in figures.outcomes(report):
        yield _row(name, [_number(now, simulated, one) for one in figures.OUTCOMES])
    if report.simulated:
        yield from map(_line, changed(report))


def _number(now: OutcomeCounts, simulated: OutcomeCounts | None, outcome: Outcome) -> str:
    """Return a number, with the simulated policy's behind an arrow; so that it fits its column, whatever they are."""
    numbers = [getattr(counts, outcome.value) for counts in (now, simulated) if counts]
    told = " > ".join(map(str, numbers))
    return told if len(told) < _CELL else ">".join(map(_short, numbers))


def _short(number: int) -> str:
    return str(number) if number < _MILLION else f"{number / _MILLION:.1f}M"


def _row(name: str, cells: Iterable[str]) -> str:
    """Return a line whose cells end where their columns do; a name that is too long takes room of the first one."""
    line = name
    for number, cell in enumerate(cells, 1):
        line += cell.rjust(max(_HEAD + number * _CELL - len(line), len(cell) + 1))
    return line


def _rules(report: ScanReport, room: int) -> Iterator[str]:
    """Yield how often which rule is broken, so many lines at the most."""
    found = list(figures.rules(report, simulated=report.simulated is not None).items())
    if not found:
        return
    yield _row("by rule, simulated" if report.simulated else "by rule", figures.ACTIONS)
    shown = found if len(found) < room else found[: room - 2]
    for rule, actions in shown:
        yield _row(f"  {rule}", [str(actions[action]) for action in figures.ACTIONS])
    if len(shown) < len(found):
        yield f"  and {counted(len(found) - len(shown), 'more rule')}"


def _tokens(report: ScanReport) -> Iterator[str]:
    yield _row("tokens in pods", figures.LIFETIMES)
    for name, numbers in figures.lifetimes(report).items():
        yield _row(f"  {name}", map(str, numbers))


def _line(field: Field) -> str:
    return f"{field[0]:<{_NAME}}{field[1]}"


def _cut(line: str) -> str:
    return line if len(line) <= COLUMNS else line[: COLUMNS - 1] + "…"
