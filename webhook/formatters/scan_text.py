"""A scan as text: a summary that fits 80 columns and 24 lines, then the details by namespace."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, repeat

import click

from webhook.core.formatting import counted, plain
from webhook.core.policy.model import Action
from webhook.formatters import scan_summary as summary
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.scan_findings import (
    ADMISSIONS,
    audience_text,
    changed_workloads,
    first_names,
    generated_findings,
    lifetime_text,
    result_differences,
    result_lines,
    workload_lines,
    workload_title,
)
from webhook.scan.evaluation_result import Admission, Change
from webhook.scan.report import AccountWithoutPermissions, CsiDriver, LegacySecret, ScanReport, ServiceAccountResult

COLUMNS, ROWS = 80, 24
_NAME, _HEAD, _CELL = 11, 24, 14
_MILLION = 1_000_000
_COLOURS = {Action.REJECT: "red", Action.PATCH: "cyan", Action.WARN: "yellow", Action.AUDIT: "blue"}
_DELETE_COPY = ": delete it and the token's ServiceAccount: as long as that exists, the token can be restored"
_SAFE_TO_DELETE = (
    "safe to delete: deleting the Secret revokes its token. Enforce legacy-token-secret, or a new Secret with the same "
    "name and token makes it valid again; see 'tokenguard rules legacy-token-secret'"
)
_Details = dict[str, list[str]]


def format_report(report: ScanReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the lines."""
    colour = options.colour
    yield from summary_lines(report)
    details = _changes(report) if report.simulated else _details(report)
    for namespace, lines in sorted(details.items()):
        title = f"namespace {plain(namespace)}" if namespace else "cluster-scoped"
        yield from _section(title, (_coloured(line) if colour else line for line in lines), colour=colour)
    if any(secret.removable for secret in report.legacy_secrets) and not report.simulated:
        yield from ("", _SAFE_TO_DELETE)
    yield from _section("tokens in pods by audience and lifetime", _token_uses(report), colour=colour)
    simulated = report.simulated_exemptions or ()
    for title, usages in (("exemptions", report.exemptions), ("simulated exemptions", simulated)):
        lines = [
            f"{first_names(usage.rules)} for {summary.exemption_subjects(usage)}:"
            f" {summary.exemption_status(usage, usages)}; {summary.exemption_expiry(usage)};"
            f" reason: {plain(usage.reason)}"
            for usage in usages
        ]
        yield from _section(title, lines, colour=colour)
    for unread in report.unread:
        yield ""
        yield f"{_styled('not read', 'red', colour=colour)}: {unread.resource}: {plain(unread.reason)}"
        yield f"  missing: {unread.missing}"
        yield f"  hint: {unread.hint}"


def summary_lines(report: ScanReport) -> list[str]:
    """Return the summary, at most 24 lines of 80 columns."""
    head = [*map(_field, summary.scan_fields(report)), *_outcomes(report)]
    tail = [*_lifetimes(report), *map(_field, summary.state_fields(report))]
    lines = (*head, *_rules(report, ROWS - len(head) - len(tail)), *tail)
    return [line if len(line) <= COLUMNS else line[: COLUMNS - 1] + "…" for line in lines]


def _outcomes(report: ScanReport) -> Iterator[str]:
    yield _row(summary.IF_RECREATED, summary.OUTCOMES)
    for title, now, simulated in summary.outcome_counts(report):
        counts = [found for found in (now, simulated) if found]
        yield _row(title, [_number([getattr(found, outcome) for found in counts]) for outcome in summary.OUTCOMES])
    if report.simulated:
        lines = textwrap.wrap(summary.workload_changes(report), COLUMNS - _NAME)
        yield from map(_field, zip(chain(["workloads"], repeat("")), lines, strict=False))


def _number(numbers: list[int]) -> str:
    """Return a number, and the simulated policy's after it; shortened to fit its column."""
    text = " > ".join(map(str, numbers))
    return text if len(text) < _CELL else ">".join(map(_short, numbers))


def _short(number: int) -> str:
    return str(number) if number < _MILLION else f"{number / _MILLION:.1f}M"


def _row(name: str, cells: Iterable[str]) -> str:
    """Return a line with right-aligned cells; a long name takes room of the first ones."""
    line = name
    for number, cell in enumerate(cells, 1):
        line += cell.rjust(max(_HEAD + number * _CELL - len(line), len(cell) + 1))
    return line


def _rules(report: ScanReport, max_lines: int) -> Iterator[str]:
    rules = list(summary.rule_counts(report, simulated=report.simulated is not None).items())
    if not rules:
        return
    yield _row("findings, simulated" if report.simulated else "findings by rule", summary.ACTIONS)
    shown = rules if len(rules) < max_lines else rules[: max_lines - 2]
    for rule, counts in shown:
        yield _row(f"  {rule}", [str(counts[action]) for action in summary.ACTIONS])
    if len(shown) < len(rules):
        yield f"  and {counted(len(rules) - len(shown), 'more rule')}"


def _lifetimes(report: ScanReport) -> Iterator[str]:
    yield _row("tokens in pods", summary.LIFETIMES)
    for state, numbers in summary.token_lifetimes(report).items():
        yield _row(f"  {state}", map(str, numbers))


def _field(field: summary.Field) -> str:
    return f"{field[0]:<{_NAME}}{field[1]}"


def _section(title: str, lines: Iterable[str], *, colour: bool) -> Iterator[str]:
    """Yield a title and indented lines; nothing without lines."""
    for number, line in enumerate(lines):
        if not number:
            yield from ("", _styled(title, None, colour=colour))
        yield f"  {line}"


def _styled(text: str, foreground: str | None, *, colour: bool) -> str:
    return click.style(text, fg=foreground, bold=True) if colour else text


def _coloured(line: str) -> str:
    word = line.lstrip(" +-").split(":")[0]
    found = next((colour for action, colour in _COLOURS.items() if action == word), None)
    return line.replace(word, click.style(word, fg=found, bold=True), 1) if found else line


def _details(report: ScanReport) -> _Details:
    """Return the details under one policy, by namespace."""
    details: _Details = {}
    generated: dict[str, Counter[str]] = {}
    for workload in report.workloads:
        lines = details.setdefault(workload.namespace, [])
        if found := workload_lines(workload):
            lines.append(f"{workload_title(workload)}: {workload.outcome} if recreated")
            lines += (f"  {line}" for line in found)
        counts = generated.setdefault(workload.namespace, Counter())
        counts.update({str(line): count for line, count in generated_findings(workload).items()})
    for namespace, counts in generated.items():
        details[namespace] += (f"{line}: {counted(count, 'pod')}" for line, count in sorted(counts.items()))
    for secret in report.legacy_secrets:
        details.setdefault(secret.namespace, []).extend(_secret(secret))
    for namespace, title, found_object in _single(report):
        details.setdefault(namespace, []).extend(f"{title}: {line}" for line in result_lines(found_object.result))
    for namespace, line in _unevaluated(report):
        details.setdefault(namespace, []).append(line)
    for account in report.accounts_without_permissions or ():
        details.setdefault(account.namespace, []).append(_without_permissions(account))
    return details


def _changes(report: ScanReport) -> _Details:
    """Return what the simulated policy changes, by namespace."""
    details: _Details = {}
    for namespace, workloads in groupby(report.workloads, key=lambda workload: workload.namespace):
        lines = details.setdefault(namespace, [])
        for change, differences, found in changed_workloads(workloads, report.filters):
            outcomes = {workload.outcome for workload in found}
            differs = outcomes.isdisjoint(workload.simulated_outcome for workload in found)
            now = f" (currently {outcomes.pop()})" if len(outcomes) == 1 and differs else ""
            lines.append(f"{first_names(map(workload_title, found))}: {change}{now}")
            lines += (f"  {line}" for line in differences)
    counts = Counter((secret.namespace, secret.change) for secret in report.legacy_secrets)
    for (namespace, change), count in sorted(counts.items()):
        if change is not Change.UNCHANGED:
            details.setdefault(namespace, []).append(f"{counted(count, 'legacy Secret')}: {change} if recreated")
    for namespace, title, found_object in _single(report):
        differences = result_differences(found_object.result, found_object.simulated)
        if found_object.change is not Change.UNCHANGED and differences:
            shown = [f"{title}: {found_object.change}", *(f"  {line}" for line in differences)]
            details.setdefault(namespace, []).extend(shown)
    return details


def _single(report: ScanReport) -> Iterator[tuple[str, str, ServiceAccountResult | CsiDriver]]:
    """Yield CSIDrivers and ServiceAccounts, each with its namespace and title."""
    yield from (("", f"CSIDriver/{plain(driver.name)}", driver) for driver in report.csi_drivers)
    for account in report.accounts:
        yield account.namespace, f"ServiceAccount/{plain(account.name)}", account


def _secret(secret: LegacySecret) -> Iterator[str]:
    created = f", created {secret.created:%Y-%m-%d}" if secret.created else ""
    invalid = f", marked invalid {secret.invalid_since}" if secret.invalid_since else ""
    advice = f": {summary.SAFE_TO_DELETE}" if secret.removable else _DELETE_COPY if secret.is_copy else ""
    account = plain(secret.account) or "no ServiceAccount"
    content = f"legacy token {summary.COPY}" if secret.is_copy else f"token of {account}"
    yield f"Secret/{plain(secret.name)}: {content}{created}, {summary.last_use_text(secret)}{invalid}{advice}"
    yield from (f"  {line}" for line in summary.reference_lines(secret))


def _unevaluated(report: ScanReport) -> Iterator[tuple[str, str]]:
    """Yield the pods that were certainly admitted without evaluation, by namespace, by how, and by rule."""
    owners: dict[tuple[str, Admission, str], Counter[str]] = {}
    for pod in report.unevaluated_pods:
        if pod.admission is not Admission.UNDETERMINED:
            rules = ", ".join(dict.fromkeys(finding.rule for finding in pod.findings))
            owners.setdefault((pod.namespace, pod.admission, rules), Counter())[pod.owner] += 1
    for (namespace, admission, rules), pods in owners.items():
        those = f"{counted(pods.total(), 'pod')} of {first_names(pods)}"
        yield namespace, f"{ADMISSIONS[admission]}: {those} ({rules}); recreate them"


def _without_permissions(account: AccountWithoutPermissions) -> str:
    pods = f"{first_names(account.workloads)} ({counted(account.pods, 'pod')})"
    return (
        f"ServiceAccount/{plain(account.name)}: no RBAC permissions, but its API token is mounted in {pods};"
        " set automountServiceAccountToken: false"
    )


def _token_uses(report: ScanReport) -> Iterator[str]:
    for use in report.tokens:
        simulated = "" if use.simulated is None else f", {use.simulated} simulated"
        numbers = f"{use.now} now, {use.recreated} if recreated{simulated}"
        yield f"{audience_text(use.audience)}, {lifetime_text(use.lifetime_seconds)}: {numbers}"
