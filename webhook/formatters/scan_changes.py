"""What a simulated policy changes, as text: the most severe changes of the whole cluster come first."""

from collections.abc import Iterable, Iterator

from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.formatters import scan_summary as summary
from webhook.formatters.scan_entries import (
    GENERATED,
    Entry,
    Section,
    account_entries,
    driver_entries,
    entry_lines,
    filtered_entries,
    generated_entries,
    secret_sections,
    workload_entries,
)
from webhook.formatters.scan_findings import FindingLine, WorkloadLines, result_differences, workload_differences
from webhook.scan.evaluation_result import Change
from webhook.scan.report import CsiDriver, LegacySecret, ScannedWorkload, ScanReport, ServiceAccountResult

_ACTIONS = {
    Change.NEWLY_DENIED: Action.REJECT,
    Change.DENIED_FOR_MORE: Action.REJECT,
    Change.DENIED_DIFFERENTLY: Action.REJECT,
    Change.STILL_DENIED: Action.PATCH,
    Change.NO_LONGER_PATCHED: Action.PATCH,
    Change.PATCHED_DIFFERENTLY: Action.PATCH,
    Change.NEWLY_PATCHED: Action.PATCH,
    Change.NEWLY_AUDITED: Action.AUDIT,
    Change.AUDITED_DIFFERENTLY: Action.AUDIT,
    Change.NO_LONGER_AUDITED: Action.AUDIT,
}
"""The action that a change is about, of those that findings about the API server's token and injections have."""


def sections(report: ScanReport) -> Iterator[Section]:
    """Yield the sections of a report about two policies; those without lines, too.

    With filters by rule or action only the objects with a difference that is shown. Their titles name no change of the
    outcome, which may follow from other findings.
    """
    for title, entries in _sections(report):
        yield title, entry_lines(entries)


def _sections(report: ScanReport) -> Iterator[tuple[str, Iterable[Entry]]]:
    shows_all = report.filters.show_all_findings

    def differences(workload: ScannedWorkload) -> WorkloadLines:
        return workload_differences(workload, report.filters)

    changed = [workload for workload in report.workloads if workload.change is not Change.UNCHANGED]
    secrets = [secret for secret in summary.ordered_secrets(report) if any(_differences(secret))]
    if not shows_all:
        yield "workloads with changes", filtered_entries(changed, differences)
        yield from secret_sections("legacy Secrets in use with changes", secrets, _secret_reasons, report)
    for change in Change if shows_all else ():
        by_outcome: dict[Outcome | None, list[ScannedWorkload]] = {before: [] for before in (*summary.OUTCOMES, None)}
        for workload in changed:
            if workload.change is change:
                by_outcome[_before(workload)].append(workload)
        for before, workloads in by_outcome.items():
            was = f" (before: {before})" if before else ""
            entries = workload_entries(workloads, differences, _ACTIONS.get(change))
            yield f"workloads: {change} if recreated{was}", entries
        those = [secret for secret in secrets if secret.change is change]
        yield from secret_sections(f"legacy Secrets in use: {change} if recreated", those, _secret_reasons, report)
    yield GENERATED, generated_entries(changed, differences)
    yield "CSIDrivers", driver_entries(report, _differences)
    yield "ServiceAccounts with findings", account_entries(report, _differences)


def _before(workload: ScannedWorkload) -> Outcome | None:
    """Return the outcome under the policy if that is another one, and not that nothing happens."""
    before = workload.outcome
    return None if before in {Outcome.ALLOWED, workload.simulated_outcome} else before


def _differences(item: ServiceAccountResult | CsiDriver | LegacySecret) -> Iterable[FindingLine]:
    if item.change is Change.UNCHANGED or item.result is None:
        return ()
    return result_differences(item.result, item.simulated)


def _secret_reasons(secret: LegacySecret) -> Iterable[str]:
    return (f"{line.sign} {line.action}: {line.rule}" for line in _differences(secret))
