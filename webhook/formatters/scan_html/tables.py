"""The tables below the charts: workloads, legacy Secrets, accounts, exemptions and tokens."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from webhook.core.decision import Outcome
from webhook.core.formatting import counted, plain
from webhook.formatters import scan_summary as summary
from webhook.formatters.migrate import CHECKLIST
from webhook.formatters.scan_exemptions import exemption_expiry, exemption_status, exemption_subjects
from webhook.formatters.scan_findings import (
    FindingLine,
    accounts_text,
    audience_text,
    by_severity,
    grants_text,
    lifetime_text,
    result_lines,
    workload_differences,
    workload_lines,
)
from webhook.formatters.scan_html.elements import Cell, Column, ColumnFilter, Row, Table, name, number
from webhook.migrate.workload_plan import safe_name
from webhook.scan.evaluation_result import Admission, Change, EvaluationResult
from webhook.scan.exemption_usage import ExemptionUsage
from webhook.scan.options import ScanFilters
from webhook.scan.rbac import Grant, grants_severity
from webhook.scan.report import (
    AccountWithTokens,
    CsiDriver,
    LegacySecret,
    ScannedWorkload,
    ScanReport,
    ServiceAccountResult,
    TokenUse,
    UnevaluatedPod,
    UnreadResource,
)

_RANKS = {outcome: rank for rank, outcome in enumerate(summary.OUTCOMES)}
_CHANGES = {change: rank for rank, change in enumerate(Change)}
_NO_VALUE = "—"
_SIMULATED = "Simulated policy"
_NEVER = 1 << 53
"""Sorts after every number; the largest integer that JavaScript represents exactly."""


def workloads(report: ScanReport) -> Table:
    """Return the workloads and their findings, the worst first."""
    ordered = sorted(
        summary.ordered_workloads(report.workloads),
        key=lambda workload: (_CHANGES[workload.change], _RANKS[workload.outcome]),
    )
    outcome = _outcome_head(report)
    columns = [Column("Workload", head=True), Column("Account"), Column("Pods", number=True), Column(outcome)]
    filters = [
        ColumnFilter("rule", "Rule", tuple(sorted({count.rule for count in report.rule_counts}))),
        ColumnFilter("action", "Action", (*summary.ACTIONS, "exempt")),
        ColumnFilter("outcome", outcome, summary.OUTCOMES),
    ]
    if report.simulated:
        columns += map(Column, (_SIMULATED, "Change", "What changes"))
        filters.append(ColumnFilter("change", "Change", tuple(Change)))
    columns.append(Column("Findings (current policy)" if report.simulated else "Findings"))
    row = partial(_workload, report.filters)
    return _by_namespace(Table("workloads", "Workloads", columns, ordered, row, filters))


def _outcome_head(report: ScanReport) -> str:
    return "Current policy" if report.simulated else "If recreated"


def _workload(filters: ScanFilters, workload: ScannedWorkload) -> Row:
    authored, generated = workload_lines(workload)
    lines = [*authored]
    for line, count in generated.items():
        pods = f" ({counted(count, 'pod')})" if 0 < workload.pod_count != count else ""
        lines.append(line._replace(text=f"{line.text}{pods}"))
    differences: tuple[FindingLine, ...] = ()
    if workload.change is not Change.UNCHANGED:
        changed = workload_differences(workload, filters)
        differences = (*changed.authored, *changed.generated)
    dangerous = any(summary.is_dangerous(account.grants) for account in workload.accounts)
    accounts = accounts_text(workload, in_full=True)
    cells = [
        name(workload.title),
        Cell(accounts.removeprefix("account "), _rank(workload.severity), _look(dangerous=dangerous)),
        number(workload.pod_count),
        _outcome(workload.outcome),
    ]
    values: dict[str, Iterable[str]] = {
        "rule": dict.fromkeys(line.rule for line in (*lines, *differences)),
        "action": dict.fromkeys(line.action for line in (*lines, *differences)),
        "outcome": [workload.outcome],
    }
    if workload.simulated_outcome:
        cells += [_outcome(workload.simulated_outcome), _change(workload.change), _lines(differences)]
        values["change"] = [workload.change]
    return Row([*cells, _lines(by_severity(lines))], values)


def secrets(report: ScanReport, checklists: str = "") -> Table:
    """Return the legacy Secrets, the most dangerous first; `checklists` is where those of `migrate` are."""
    columns = _columns(
        "Secret", "Account", "Permissions", "Last used", "State", "References", "Created", _outcome_head(report)
    )
    if report.simulated:
        columns.append(Column(_SIMULATED))
    if checklists:
        columns.append(Column("What to change"))
    filters = [ColumnFilter("state", "State", summary.SECRET_STATES)]
    caption = "Secrets with a token that never expires"
    row = partial(_secret, checklists, report)
    return _by_namespace(Table("secrets", caption, columns, summary.ordered_secrets(report), row, filters))


def _secret(checklists: str, report: ScanReport, secret: LegacySecret) -> Row:
    states = summary.secret_states(secret, report)
    shown = [f"invalid since {secret.invalid_since}" if state == "invalid" else state for state in states]
    cells = [
        name(secret.name),
        name(secret.account or "unknown"),
        _grants(secret.grants),
        Cell(summary.last_use_text(secret).removeprefix("last used ").replace(summary.NO_USE, "not"), look="use"),
        Cell(
            ", ".join(shown) or summary.unclear_use(secret, report) or _NO_VALUE,
            look="state removable" if secret.removable else "state",
        ),
        _lines(FindingLine("", "", line) for line in summary.reference_lines(secret)),
        Cell(f"{secret.created:%Y-%m-%d}" if secret.created else _NO_VALUE, look="date"),
        _outcome_of(secret.result),
    ]
    if report.simulated:
        unchanged = secret.change is Change.UNCHANGED
        cells.append(_outcome_of(secret.simulated) if unchanged else _change(secret.change))
    if checklists:
        link = f"{checklists.rstrip('/')}/{safe_name(secret.namespace)}/{CHECKLIST}"
        cells.append(Cell(f"checklist of {plain(secret.namespace)}", link=link))
    return Row(cells, {"state": states})


def tokens(report: ScanReport) -> Table:
    """Return the numbers of tokens by audience and lifetime."""
    ordered = sorted(report.tokens, key=lambda use: -use.now)
    states = (Column(state, number=True) for state in summary.token_lifetimes(report))
    columns = [Column("Audience", head=True), Column("Lifetime", number=True), *states]
    return Table("tokens", "Tokens in pods by audience and lifetime", columns, ordered, _token_use)


def _token_use(use: TokenUse) -> Row:
    lifetime = _NEVER if use.lifetime_seconds is None else use.lifetime_seconds
    return Row([
        Cell(plain(use.audience) or audience_text("")),
        Cell(lifetime_text(use.lifetime_seconds), lifetime),
        *(number(count) for count in (use.now, use.recreated, use.simulated) if count is not None),
    ])  # fmt: skip


def unevaluated_pods(report: ScanReport) -> Table:
    """Return the running pods that were certainly admitted without evaluation."""
    pods = [pod for pod in report.unevaluated_pods if pod.admission is not Admission.UNDETERMINED]
    columns = _columns("Pod", "Owner", "Created", "Admission", "What to do", "Findings")
    filters = [ColumnFilter("admission", "Admission", tuple(admission.value for admission in Admission)[:-1])]
    caption = "Running pods that were admitted without evaluation"
    return _by_namespace(Table("unevaluated-pods", caption, columns, pods, _unevaluated_pod, filters))


def _unevaluated_pod(pod: UnevaluatedPod) -> Row:
    lines = (
        FindingLine(finding.action, finding.rule, plain(f"{finding.path} {finding.detail}")) for finding in pod.findings
    )
    cells = [
        name(pod.name),
        name(pod.owner),
        Cell(f"{pod.created:%Y-%m-%d}" if pod.created else _NO_VALUE, look="date"),
        Cell(pod.admission.value),
        name(pod.hint),
        _lines(lines),
    ]
    return Row(cells, {"admission": [pod.admission.value]})


def accounts_with_tokens(report: ScanReport) -> Table:
    """Return the accounts with tokens for the API server, the most powerful first."""

    def row(account: AccountWithTokens) -> Row:
        return Row([
            name(account.name),
            _grants(account.grants),
            number(account.pods),
            number(account.automounted_pods),
            number(account.authored_pods),
            number(len(account.legacy_secrets)),
            name(", ".join(account.workloads)),
        ])  # fmt: skip

    columns = [
        Column("ServiceAccount", head=True),
        Column("Permissions"),
        Column("Pods", number=True),
        Column("Automounted", number=True),
        Column("In volumes", number=True),
        Column("Legacy Secrets", number=True),
        Column("Workloads"),
    ]
    ordered = sorted(report.accounts_with_tokens, key=lambda account: account.severity)
    note = (
        "'Pods' counts the pods with a projected token for the API server: in those under 'Automounted', Kubernetes"
        " mounts it; in those under 'In volumes', the author or an injection projects it; both is possible. If an"
        f" account has no permissions, its pods do not need the token. Remove it, {summary.OTHER_USE}:"
        f" for 'Automounted', {summary.STOP_AUTOMOUNT} on the account or in the templates; for 'In volumes',"
        f" {summary.STOP_PROJECTION}."
    )
    return _by_namespace(
        Table("accounts-with-tokens", "Accounts with API server tokens", columns, ordered, row, note=note)
    )


def accounts(report: ScanReport) -> Table:
    """Return the ServiceAccounts with findings."""
    columns = _columns("ServiceAccount", "Findings", *([_SIMULATED] if report.simulated else []))
    return _by_namespace(Table("accounts", "ServiceAccounts with findings", columns, report.accounts, _results))


def csi_drivers(report: ScanReport) -> Table:
    """Return the CSI drivers with findings."""
    columns = _columns("CSIDriver", "Findings", *([_SIMULATED] if report.simulated else []))
    caption = "CSI drivers that get tokens of the pods' accounts, with findings"
    return Table("csi-drivers", caption, columns, report.csi_drivers, _results)


def _results(item: ServiceAccountResult | CsiDriver) -> Row:
    return Row([name(item.name), *(_lines(result_lines(result)) for result in (item.result, item.simulated) if result)])


def exemptions(key: str, caption: str, usages: tuple[ExemptionUsage, ...]) -> Table:
    """Return the exemptions of a policy, in its order."""

    def row(usage: ExemptionUsage) -> Row:
        expiry = usage.until.toordinal() if usage.until else _NEVER
        return Row([
            Cell(", ".join(usage.rules), look="code"),
            Cell(exemption_subjects(usage)),
            Cell(exemption_status(usage, usages), usage.covers.workloads),
            Cell(exemption_expiry(usage), expiry, "soon" if usage.expires_soon else ""),
            name(usage.reason),
        ])  # fmt: skip

    return Table(key, caption, _columns("Rules", "Who", "Status", "Exemption expiry", "Reason"), usages, row)


def unread(report: ScanReport) -> Table:
    """Return what could not be read."""
    columns = _columns("Resource", "Reason", "Missing in this report", "Hint")
    return Table("not-read", "What could not be read", columns, report.unread, _unread)


def _unread(entry: UnreadResource) -> Row:
    return Row([name(text) for text in (entry.resource, entry.reason, entry.missing, entry.hint)])


def _columns(head: str, *labels: str) -> list[Column]:
    return [Column(head, head=True), *map(Column, labels)]


def _by_namespace(table: Table) -> Table:
    """Return a table of objects in namespaces with the namespace as its first column and filter."""

    def row(item: Any) -> Row:
        namespace, inner = plain(item.namespace), table.row(item)
        return Row([Cell(namespace), *inner.cells], {"namespace": [namespace], **inner.values})

    names = tuple(sorted({plain(item.namespace) for item in table.items}))
    filters = [ColumnFilter("namespace", "Namespace", names), *table.filters]
    return replace(table, columns=[Column("Namespace"), *table.columns], row=row, filters=filters)


def _grants(grants: tuple[Grant, ...] | None) -> Cell:
    look = _look(dangerous=summary.is_dangerous(grants))
    return Cell(grants_text(grants, in_full=True), _rank(grants_severity(grants)), look)


def _rank(severity: tuple[bool, int]) -> int:
    limited, rank = severity
    return 100 * limited + rank


def _look(*, dangerous: bool) -> str:
    return "permissions danger" if dangerous else "permissions"


def _outcome(outcome: Outcome) -> Cell:
    return Cell(outcome, _RANKS[outcome], outcome)


def _outcome_of(result: EvaluationResult | None) -> Cell:
    """Return the outcome of a legacy Secret; that of one that is not in use sorts last."""
    return _outcome(result.outcome) if result else Cell(_NO_VALUE, len(_RANKS))


def _change(change: Change) -> Cell:
    return Cell(change, _CHANGES[change])


def _lines(lines: Iterable[FindingLine]) -> Cell:
    all_lines = tuple(lines)
    return Cell(lines=all_lines, sort=-len(all_lines))
