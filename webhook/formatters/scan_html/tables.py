"""The tables below the plots: what is told of each owner, legacy Secret, account and exemption, and of tokens."""

from collections.abc import Iterable, Iterator

from webhook.core.decision import Outcome
from webhook.core.text import counted, plain
from webhook.formatters import scan_figures as figures
from webhook.formatters.scan_findings import differences, findings, line_of, spared, today, unwritten
from webhook.formatters.scan_html.elements import Cell, Column, ColumnFilter, Line, Row, Table, name, number, parted
from webhook.formatters.scan_text import good_for, pointing, until, whom
from webhook.scan.evaluation_result import Change, EvaluationResult
from webhook.scan.exemption_usage import ExemptionUsage
from webhook.scan.options import ScanFilters
from webhook.scan.report import LegacySecret, Owner, ScanReport
from webhook.tokens.humanize import humanize_seconds

_RANKS = {outcome: rank for rank, outcome in enumerate(figures.OUTCOMES)}
_CHANGES = {change: rank for rank, change in enumerate(Change)}
_UNSAID = "—"
_NAMESPACE = Column("Namespace")


def owners(report: ScanReport) -> Table:
    """Return what would come of the pods of each owner, and why; the worst first."""
    every = sorted(report.owners, key=lambda one: (_CHANGES[one.change], _RANKS[one.outcome]))
    columns = [_NAMESPACE, Column("Owner", head=True), Column("Pods", number=True), Column("If created again")]
    if report.simulated:
        columns += [Column("Simulated"), Column("Change"), Column("What changes")]
    rules = sorted({one.rule for one in report.rule_counts})
    filters = [
        _namespaces(one.namespace for one in report.owners),
        ColumnFilter("rule", "Rule", tuple(rules)),
        ColumnFilter("action", "Action", (*figures.ACTIONS, "exempt")),
        ColumnFilter("outcome", "If created again", tuple(figures.OUTCOMES.values())),
    ]
    if report.simulated:
        filters.append(ColumnFilter("change", "Change", tuple(Change)))
    rows = (_owner(one, report.filters) for one in every)
    caption = "What makes pods, and what would come of its pods"
    return Table("owners", caption, (*columns, Column("What is found")), rows, len(every), tuple(filters))


def _owner(owner: Owner, filters: ScanFilters) -> Row:
    found = [parted(line) for line in (*findings(owner, today), *spared(owner))]
    for line, count in unwritten(owner, today).items():
        among = f" ({counted(count, 'pod')})" if 0 < owner.pod_count != count else ""
        found.append(parted(f"{line}{among}"))
    differing = [parted(line) for line in differences(owner, filters)] if owner.change is not Change.NONE else []
    cells = [
        name(owner.namespace),
        name(owner.title),
        number(owner.pod_count),
        _outcome(owner.outcome),
    ]
    values = {
        "namespace": [plain(owner.namespace)],
        "rule": {line.rule: None for line in (*found, *differing)},
        "action": {line.word: None for line in (*found, *differing)},
        "outcome": [figures.OUTCOMES[owner.outcome]],
    }
    if simulated := owner.simulated_outcome:
        cells += [_outcome(simulated), Cell(owner.change, _CHANGES[owner.change]), _lines(differing)]
        values["change"] = [owner.change]
    return Row([*cells, _lines(found)], values)


def secrets(report: ScanReport) -> Table:
    """Return what is known of each legacy Secret; those that can go first."""
    every = sorted(report.legacy_secrets, key=lambda one: not one.removable)
    columns = [
        _NAMESPACE,
        Column("Secret", head=True),
        Column("Account"),
        Column("Made"),
        Column("Last used"),
        Column("Standing"),
        Column("Referred to"),
        Column("If made again"),
    ]
    filters = (_namespaces(one.namespace for one in every), ColumnFilter("standing", "Standing", figures.USES))
    if report.simulated:
        columns.append(Column("Simulated"))
    rows = (_secret(one) for one in every)
    return Table("secrets", "Secrets that hold a token without end", tuple(columns), rows, len(every), filters)


def _secret(secret: LegacySecret) -> Row:
    if secret.last_used:
        used = f"{secret.last_used}"
    else:
        used = f"not since {secret.unused_since}" if secret.unused_since else "not known"
    standing = list(figures.uses(secret))
    told = [f"invalid since {secret.invalid_since}" if one == "invalid" else one for one in standing]
    cells = [
        name(secret.namespace),
        name(secret.name),
        name("not known" if secret.is_copy else secret.account or "nobody"),
        Cell(f"{secret.created:%Y-%m-%d}" if secret.created else _UNSAID, look="date"),
        Cell(used, look="date"),
        Cell(", ".join(told) or _UNSAID, look="standing can-go" if secret.removable else "standing"),
        _lines(Line("", "", "", line) for line in pointing(secret)),
        _outcome(secret.judgement.outcome),
    ]
    if secret.simulated:
        changed = Cell(secret.change, _CHANGES[secret.change])
        cells.append(_outcome(secret.simulated.outcome) if secret.change is Change.NONE else changed)
    return Row(cells, {"namespace": [plain(secret.namespace)], "standing": standing})


def tokens(report: ScanReport) -> Table:
    """Return how many tokens of which audience and lifetime pods have."""
    every = sorted(report.tokens, key=lambda one: -one.now)
    states = list(figures.lifetimes(report))
    columns = (
        Column("Audience", head=True),
        Column("They live", number=True),
        *(Column(one, number=True) for one in states),
    )
    rows = (
        Row([
            Cell(plain(one.audience) if one.audience else "the API server"),
            Cell("without end", _ENDLESS)
            if one.lifetime_seconds is None
            else Cell(humanize_seconds(one.lifetime_seconds), one.lifetime_seconds),
            *map(number, (one.now, one.after, *([] if one.simulated is None else [one.simulated]))),
        ])
        for one in every
    )  # fmt: skip
    return Table("tokens", "Tokens in pods by audience and lifetime", columns, rows, len(every))


_ENDLESS = 1 << 53
"""Sorted by, behind all that ends; the largest whole number that a page's script is sure to hold."""


def accounts_without_permissions(report: ScanReport) -> Table:
    """Return the accounts that mount a token with which they may do nothing."""
    every = report.accounts_without_permissions or ()
    columns = (_NAMESPACE, Column("ServiceAccount", head=True), Column("Pods", number=True), Column("Owners"))
    rows = (
        Row([name(one.namespace), name(one.name), number(one.pods), name(", ".join(one.owners))],
            {"namespace": [plain(one.namespace)]})
        for one in every
    )  # fmt: skip
    return Table(
        "idle-accounts",
        "Accounts with the API server's token mounted and no right to anything",
        columns,
        rows,
        len(every),
        (_namespaces(one.namespace for one in every),),
        "No binding names them: their automount can go.",
    )


def accounts(report: ScanReport) -> Table:
    """Return the ServiceAccounts of which would be warned."""
    columns = [_NAMESPACE, Column("ServiceAccount", head=True), Column("What is found")]
    if report.simulated:
        columns.append(Column("Simulated"))
    rows = (
        Row(
            [
                name(one.namespace),
                name(one.name),
                _judged(one.judgement),
                *([_judged(one.simulated)] if one.simulated else []),
            ],
            {"namespace": [plain(one.namespace)]},
        )
        for one in report.accounts
    )
    return Table(
        "accounts",
        "ServiceAccounts of which would be warned, or that an exemption spares",
        tuple(columns),
        rows,
        len(report.accounts),
        (_namespaces(one.namespace for one in report.accounts),),
    )


def csi_drivers(report: ScanReport) -> Table:
    """Return the CSI drivers whose tokens would be warned about."""
    columns = [Column("CSIDriver", head=True), Column("What is found")]
    if report.simulated:
        columns.append(Column("Simulated"))
    rows = (
        Row([
            name(driver.name),
            _judged(driver.judgement),
            *([_judged(driver.simulated)] if driver.simulated else []),
        ])
        for driver in report.csi_drivers
    )  # fmt: skip
    caption = "CSI drivers that get tokens of pods' accounts, and what would be warned about or is exempt"
    return Table("csi-drivers", caption, tuple(columns), rows, len(report.csi_drivers))


def exemptions(key: str, caption: str, states: Iterable[ExemptionUsage]) -> Table:
    """Return what the exemptions of a policy are good for, in its order."""
    every = tuple(states)
    columns = (
        Column("Rules", head=True),
        Column("For"),
        Column("Good for"),
        Column("Until"),
        Column("Reason"),
    )
    rows = (
        Row([
            Cell(", ".join(one.rules), look="code"),
            Cell(whom(one)),
            Cell(good_for(one, every), one.holds),
            Cell(until(one), one.until.toordinal() if one.until else _ENDLESS, "soon" if one.ends_soon else ""),
            name(one.reason),
        ])
        for one in every
    )  # fmt: skip
    return Table(key, caption, columns, rows, len(every))


def unread(report: ScanReport) -> Table:
    """Return what could not be read, and what to do about it."""
    columns = (Column("What", head=True), Column("Why"), Column("What is lacking"), Column("What to look at"))
    rows = (Row([name(one.what), name(one.why), Cell(one.lacks), Cell(one.advice)]) for one in report.unread)
    return Table("not-read", "What could not be read", columns, rows, len(report.unread))


def _namespaces(namespaces: Iterable[str]) -> ColumnFilter:
    return ColumnFilter("namespace", "Namespace", tuple(sorted({plain(one) for one in namespaces})))


def _outcome(outcome: Outcome) -> Cell:
    return Cell(figures.OUTCOMES[outcome], _RANKS[outcome], outcome)


def _lines(lines: Iterable[Line]) -> Cell:
    found = tuple(lines)
    return Cell(lines=found, sort=-len(found))


def _judged(judgement: EvaluationResult) -> Cell:
    return _lines(_told(judgement))


def _told(judgement: EvaluationResult) -> Iterator[Line]:
    yield from (parted(line_of(one)) for one in judgement.findings)
    yield from (Line("", "exempt", one.rule, plain(one.reason)) for one in judgement.exemptions)
