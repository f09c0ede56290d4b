"""The exit status of `tokenguard scan`."""

from collections.abc import Iterable

from webhook.scan.counts import ScanSummary
from webhook.scan.report import UnreadResource


def exit_status(summary: ScanSummary, unread: Iterable[UnreadResource]) -> int:
    """Return 2 if outcomes may be wrong, 1 if something would be denied (by the simulated policy, if any), else 0."""
    if any(resource.affects_decisions for resource in unread):
        return 2
    counts = (
        summary.simulated_workloads or summary.workloads,
        summary.simulated_secrets or summary.secrets,
    )
    return int(any(count and count.denied for count in counts))
