"""The tables below the charts: workloads, legacy Secrets, accounts, exemptions and tokens."""

from collections.abc import Iterable

from webhook.core.decision import Outcome
from webhook.core.formatting import counted, plain
from webhook.formatters import scan_summary as summary
from webhook.formatters.scan_findings import (
    FindingLine,
    audience_text,
    generated_findings,
    lifetime_text,
    result_lines,
    workload_differences,
    workload_lines,
)
from webhook.formatters.scan_html.elements import Cell, Column, ColumnFilter, Row, Table, name, number
from webhook.scan.evaluation_result import Change, EvaluationResult
from webhook.scan.exemption_usage import ExemptionUsage
from webhook.scan.options import ScanFilters
from webhook.scan.report import CsiDriver, LegacySecret, ScannedWorkload, ScanReport, ServiceAccountResult

_RANKS = {outcome: rank for rank, outcome in enumerate(summary.OUTCOMES)}
_CHANGES = {change: rank for rank, change in enumerate(Change)}
_NO_VALUE = "—"
_NAMESPACE = Column("Namespace")
_NEVER = 1 << 53
"""Sorts after every number; the largest integer that JavaScript represents exactly."""


def workloads(report: ScanReport) -> Table:
    """Return the workloads and their findings, the worst first."""
    ordered = sorted(report.workloads, key=lambda workload: (_CHANGES[workload.change], _RANKS[workload.outcome]))
    columns = [_NAMESPACE, Column("Workload", head=True), Column("Pods", number=True), Column("If recreated")]
    filters = [
        _namespaces(workload.namespace for workload in ordered),
        ColumnFilter("rule", "Rule", tuple(sorted({count.rule for count in report.rule_counts}))),
        ColumnFilter("action", "Action", (*summary.ACTIONS, "exempt")),
        ColumnFilter("outcome", "If recreated", summary.OUTCOMES),
    ]
    if report.simulated:
        columns += [Column("Simulated"), Column("Change"), Column("What changes")]
        filters.append(ColumnFilter("change", "Change", tuple(Change)))
    rows = (_workload(workload, report.filters) for workload in ordered)
    return Table("workloads", "Workloads", (*columns, Column("Findings")), rows, len(ordered), tuple(filters))


def _workload(workload: ScannedWorkload, filters: ScanFilters) -> Row:
    lines = workload_lines(workload)
    for line, count in generated_findings(workload).items():
        pods = f" ({counted(count, 'pod')})" if 0 < workload.pod_count != count else ""
        lines.append(line._replace(text=f"{line.text}{pods}"))
    differences = workload_differences(workload, filters) if workload.change is not Change.UNCHANGED else ()
    cells = [name(workload.namespace), name(workload.title), number(workload.pod_count), _outcome(workload.outcome)]
    values: dict[str, Iterable[str]] = {
        "namespace": [plain(workload.namespace)],
        "rule": dict.fromkeys(line.rule for line in (*lines, *differences)),
        "action": dict.fromkeys(line.action for line in (*lines, *differences)),
        "outcome": [workload.outcome],
    }
    if workload.simulated_outcome:
        cells += [_outcome(workload.simulated_outcome), _change(workload.change), _lines(differences)]
        values["change"] = [workload.change]
    return Row([*cells, _lines(lines)], values)


def secrets(report: ScanReport) -> Table:
    """Return the legacy Secrets; those that are safe to delete first."""
    ordered = sorted(report.legacy_secrets, key=lambda secret: not secret.removable)
    labels = ("Account", "Created", "Last used", "State", "References", "If recreated")
    columns = [_NAMESPACE, Column("Secret", head=True), *map(Column, labels)]
    if report.simulated:
        columns.append(Column("Simulated"))
    filters = (
        _namespaces(secret.namespace for secret in ordered),
        ColumnFilter("state", "State", summary.SECRET_STATES),
    )
    caption = "Secrets with a token that never expires"
    return Table("secrets", caption, tuple(columns), map(_secret, ordered), len(ordered), filters)


def _secret(secret: LegacySecret) -> Row:
    states = summary.secret_states(secret)
    shown = [f"invalid since {secret.invalid_since}" if state == "invalid" else state for state in states]
    cells = [
        name(secret.namespace),
        name(secret.name),
        name(secret.account or "unknown"),
        Cell(f"{secret.created:%Y-%m-%d}" if secret.created else _NO_VALUE, look="date"),
        Cell(summary.last_use_text(secret).removeprefix("last used "), look="date"),
        Cell(", ".join(shown) or _NO_VALUE, look="state removable" if secret.removable else "state"),
        _lines(FindingLine("", "", line) for line in summary.reference_lines(secret)),
        _outcome(secret.result.outcome),
    ]
    if secret.simulated:
        unchanged = secret.change is Change.UNCHANGED
        cells.append(_outcome(secret.simulated.outcome) if unchanged else _change(secret.change))
    return Row(cells, {"namespace": [plain(secret.namespace)], "state": states})


def tokens(report: ScanReport) -> Table:
    """Return the numbers of tokens by audience and lifetime."""
    ordered = sorted(report.tokens, key=lambda use: -use.now)
    states = (Column(state, number=True) for state in summary.token_lifetimes(report))
    columns = (Column("Audience", head=True), Column("Lifetime", number=True), *states)
    rows = (
        Row([
            Cell(plain(use.audience) if use.audience else audience_text("")),
            Cell(lifetime_text(use.lifetime_seconds), _NEVER if use.lifetime_seconds is None else use.lifetime_seconds),
            *map(number, (use.now, use.recreated, *([] if use.simulated is None else [use.simulated]))),
        ])
        for use in ordered
    )  # fmt: skip
    return Table("tokens", "Tokens in pods by audience and lifetime", columns, rows, len(ordered))


def accounts_without_permissions(report: ScanReport) -> Table:
    """Return the accounts without RBAC permissions whose API token is mounted."""
    accounts = report.accounts_without_permissions or ()
    columns = (_NAMESPACE, Column("ServiceAccount", head=True), Column("Pods", number=True), Column("Workloads"))
    rows = (
        Row(
            [name(account.namespace), name(account.name), number(account.pods), name(", ".join(account.workloads))],
            {"namespace": [plain(account.namespace)]},
        )
        for account in accounts
    )
    return Table(
        "accounts-without-permissions",
        "Accounts with a mounted API token but no RBAC permissions",
        columns,
        rows,
        len(accounts),
        (_namespaces(account.namespace for account in accounts),),
        "No binding names these accounts: set automountServiceAccountToken: false.",
    )


def accounts(report: ScanReport) -> Table:
    """Return the ServiceAccounts with findings."""
    rows = (
        Row([name(account.namespace), *_results(account)], {"namespace": [plain(account.namespace)]})
        for account in report.accounts
    )
    filters = (_namespaces(account.namespace for account in report.accounts),)
    columns = (_NAMESPACE, *_result_columns("ServiceAccount", report))
    return Table("accounts", "ServiceAccounts with findings", columns, rows, len(report.accounts), filters)


def csi_drivers(report: ScanReport) -> Table:
    """Return the CSI drivers with findings."""
    rows = (Row(_results(driver)) for driver in report.csi_drivers)
    caption = "CSI drivers that get tokens of the pods' accounts, with findings"
    return Table("csi-drivers", caption, _result_columns("CSIDriver", report), rows, len(report.csi_drivers))


def _result_columns(kind: str, report: ScanReport) -> tuple[Column, ...]:
    columns = (Column(kind, head=True), Column("Findings"))
    return (*columns, Column("Simulated")) if report.simulated else columns


def _results(found: ServiceAccountResult | CsiDriver) -> list[Cell]:
    results = [found.result, *([found.simulated] if found.simulated else [])]
    return [name(found.name), *map(_result, results)]


def exemptions(key: str, caption: str, usages: tuple[ExemptionUsage, ...]) -> Table:
    """Return the exemptions of a policy, in its order."""
    columns = (Column("Rules", head=True), *map(Column, ("For", "Status", "Exemption expiry", "Reason")))
    rows = (
        Row([
            Cell(", ".join(usage.rules), look="code"),
            Cell(summary.exemption_subjects(usage)),
            Cell(summary.exemption_status(usage, usages), usage.matches),
            Cell(
                summary.exemption_expiry(usage),
                usage.until.toordinal() if usage.until else _NEVER,
                "soon" if usage.expires_soon else "",
            ),
            name(usage.reason),
        ])
        for usage in usages
    )  # fmt: skip
    return Table(key, caption, columns, rows, len(usages))


def unread(report: ScanReport) -> Table:
    """Return what could not be read."""
    columns = (Column("Resource", head=True), *map(Column, ("Reason", "Missing in this report", "Hint")))
    rows = (
        Row([name(found.resource), name(found.reason), Cell(found.missing), Cell(found.hint)])
        for found in report.unread
    )
    return Table("not-read", "What could not be read", columns, rows, len(report.unread))


def _namespaces(namespaces: Iterable[str]) -> ColumnFilter:
    return ColumnFilter("namespace", "Namespace", tuple(sorted({plain(namespace) for namespace in namespaces})))


def _outcome(outcome: Outcome) -> Cell:
    return Cell(outcome, _RANKS[outcome], outcome)


def _change(change: Change) -> Cell:
    return Cell(change, _CHANGES[change])


def _lines(lines: Iterable[FindingLine]) -> Cell:
    found = tuple(lines)
    return Cell(lines=found, sort=-len(found))


def _result(result: EvaluationResult) -> Cell:
    return _lines(result_lines(result))
