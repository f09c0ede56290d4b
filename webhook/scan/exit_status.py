"""The exit status of `tokenguard scan`."""

from collections.abc import Iterable

from webhook.scan.counts import ScanSummary
from webhook.scan.report import UnreadResource


def exit_status(summary: ScanSummary, unread: Iterable[UnreadResource]) -> int:
    """Return 2 if outcomes may be wrong, 1 if a workload would be denied (by the simulated policy, if any), else 0.

    Legacy Secrets do not count: those that exist stay. A pod is of a workload, or is one.
    """
    if any(resource.affects_decisions for resource in unread):
        return 2
    return int((summary.simulated_workloads or summary.workloads).denied > 0)
