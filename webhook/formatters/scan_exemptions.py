"""Exemptions in a scan: their status, and what they are for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from webhook.core.formatting import counted, plain, quote
from webhook.formatters.scan_findings import LIST_EACH, first_names
from webhook.scan.counts import ExemptCounts
from webhook.scan.exemption_usage import ExemptionStatus, ExemptionUsage
from webhook.scan.report import ScanReport


def exemption_lines(usages: Sequence[ExemptionUsage]) -> Iterator[str]:
    """Yield each exemption of a policy, and how many are only about what was not scanned."""
    for usage in usages:
        if not _is_outside(usage):
            yield (
                f"{first_names(usage.rules)} for {exemption_subjects(usage)}: {exemption_status(usage, usages)};"
                f" {exemption_expiry(usage)}; reason: {plain(usage.reason)}"
            )
    if outside := [usage for usage in usages if _is_outside(usage)]:
        yield f"{_statuses(outside)}, with namespaces outside of the scan; {LIST_EACH}"


def _is_outside(usage: ExemptionUsage) -> bool:
    """Return whether an exemption covers namespaces outside of the scan, and nothing in it."""
    if usage.status is ExemptionStatus.EXPIRED:
        return usage.partly_scanned and not (_covered(usage.covers) or usage.unread)
    return usage.status is ExemptionStatus.NOT_SCANNED


def exemption_subjects(usage: ExemptionUsage) -> str:
    """Return what an exemption is for: `ACCOUNTS in NAMESPACES`."""
    who = first_names((*usage.service_accounts, *usage.users)) or "everything"
    return f"{who} in {first_names(usage.namespaces)}" if usage.namespaces else who


def exemption_status(usage: ExemptionUsage, usages: Sequence[ExemptionUsage]) -> str:
    """Return an exemption's status; `usages` are all of its policy."""
    if usage.status is ExemptionStatus.EXPIRED:
        if covered := _covered(usage.covers):
            return f"expired, would cover {covered}"
        return "expired, only partly scanned" if usage.partly_scanned else "expired, unused"
    unknown = "not everything that it covers could be read" if usage.unread else "depends on the user of a request"
    return {
        ExemptionStatus.IN_USE: f"in use, covers {_covered(usage.covers)}",
        ExemptionStatus.SHADOWED: f"shadowed by {_earlier(usages[number] for number in usage.shadowed_by)}",
        ExemptionStatus.UNUSED: "unused",
        ExemptionStatus.NOT_SCANNED: "not scanned: it covers namespaces outside of the scan",
        ExemptionStatus.UNKNOWN: f"unknown, {unknown}",
    }[usage.status]


def _earlier(usages: Iterable[ExemptionUsage]) -> str:
    names = [f"{quote(usage.reason)}, {_until(usage)}" for usage in usages]
    return f"an earlier one ({names[0]})" if len(names) == 1 else f"earlier ones ({'; '.join(names)})"


def exemption_expiry(usage: ExemptionUsage) -> str:
    """Return how long an exemption is valid."""
    soon = f" ({counted(usage.days_left or 0, 'day')} left)" if usage.expires_soon else ""
    return f"{_until(usage)}{soon}"


def _until(usage: ExemptionUsage) -> str:
    return f"until {usage.until}" if usage.until else "never expires"


def exemption_fields(report: ScanReport) -> Iterator[tuple[str, str]]:
    """Yield the numbers of exemptions by status, and what they exempt, as fields of the summary."""
    summary = report.summary
    policies = (
        ("", report.exemptions, summary.exempt),
        ("simulated ", report.simulated_exemptions, summary.simulated_exempt),
    )
    name = "exemptions"
    for prefix, usages, exempt in policies:
        if usages:
            soon = sum(usage.expires_soon for usage in usages)
            of_these = f" ({soon} expiring soon)" if soon else ""
            covered = f"; exempt: {_covered(exempt)}" if exempt and _covered(exempt) else ""
            yield name, f"{prefix}{len(usages)}{of_these}: {_statuses(usages)}{covered}"
            name = ""


def _statuses(usages: Iterable[ExemptionUsage]) -> str:
    """Return the numbers of exemptions by status: each counts once."""
    counts = Counter(usage.status for usage in usages)
    return ", ".join(f"{counts[status]} {status}" for status in ExemptionStatus if counts[status])


def _covered(counts: ExemptCounts) -> str:
    """Return what exemptions cover, such as `3 workloads (7 pods), 1 legacy Secret`; empty: nothing."""
    pods = f" ({counted(counts.pods, 'pod')})"
    parts = (
        (counts.workloads, "workload", pods),
        (counts.secrets or 0, "legacy Secret", ""),
        (counts.service_accounts, "ServiceAccount", ""),
        (counts.csi_drivers, "CSIDriver", ""),
    )
    return ", ".join(f"{counted(count, title)}{more}" for count, title, more in parts if count)
