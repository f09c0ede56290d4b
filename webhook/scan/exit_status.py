"""The exit status of `tokenguard scan`."""

from collections.abc import Iterable

from webhook.scan.report import ScanSummary, UnreadResource


def exit_status(summary: ScanSummary, unread: Iterable[UnreadResource]) -> int:
    """Return 1 if something would be denied (by the simulated policy, if any), 2 if outcomes may be wrong, else 0."""
    counts = (
        summary.simulated_workloads or summary.workloads,
        summary.simulated_secrets or summary.secrets,
    )
    if any(count.denied for count in counts):
        return 1
    return 2 if any(resource.affects_decisions for resource in unread) else 0
