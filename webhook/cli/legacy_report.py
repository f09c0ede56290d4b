"""What the `legacy` commands share: their options, and the report that they all begin with."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from webhook.audit.summary import AuditSummary
from webhook.cli.audit import read_logs
from webhook.cli.cluster_scan import GivenPolicies, ScanRequest, scan_cluster
from webhook.cli.common import DAYS, FILE
from webhook.cluster.transport import Transport
from webhook.legacy.metadata import RetirableMetadata
from webhook.legacy.report import LegacyReport
from webhook.legacy.retirable import AFTER_DAYS, RefusedUse, RetirementAnalyzer
from webhook.scan.options import UNUSED_DAYS, ScanFilters

F = TypeVar("F", bound=Callable[..., Any])


unused_days_option = click.option(
    "--unused-days", type=DAYS, default=UNUSED_DAYS, metavar="DAYS",
    help="Days without use after which a token counts as unused.",
)  # fmt: skip


def refused_use_options(command: F) -> F:
    """Add the options on which it depends whether a disabled token is still used."""
    after = click.option(
        "--after-days", type=DAYS, default=AFTER_DAYS, metavar="DAYS",
        help="A disabled token counts as 'disabled but still used' for this number of days after a refused use. Its"
             " Secret may be deleted after this number of days without a refused use.",
    )  # fmt: skip
    log = click.option(
        "--audit-log", "audit_logs", multiple=True, metavar="FILE|-", type=FILE,
        help="Audit log of the API server, from which to learn who uses disabled tokens. May be repeated.",
    )  # fmt: skip
    return after(log(command))


def refused_uses(audit_logs: tuple[str, ...]) -> dict[str, tuple[RefusedUse, ...]]:
    """Return the refused uses in logs of the API server, by `namespace/name` of the Secret.

    Raises `click.ClickException` if a log cannot be read: a token that is still used would look unused.
    """
    uses: dict[str, tuple[RefusedUse, ...]] = {}
    if not audit_logs:
        return uses
    summary = AuditSummary()
    read_logs(audit_logs, summary)
    if summary.stats.unreadable_logs or not summary.stats.apiserver:
        raise click.ClickException("--audit-log: a log cannot be read, or no entry is from the API server")
    for (secret, address, client), count in summary.refused_uses():
        if count.last:
            uses[secret] = (*uses.get(secret, ()), RefusedUse(address, client, count.requests, count.last))
    return uses


def scan_request(
    policy: str | None, policy_configmap: str, own_namespace: str, unused_days: int, namespaces: tuple[str, ...]
) -> ScanRequest:
    """Return the scan from which the states of the Secrets follow; without namespaces of the whole cluster."""
    return ScanRequest(
        policy=policy,
        policy_configmap=policy_configmap,
        own_namespace=own_namespace,
        filters=ScanFilters(namespaces),
        unused_days=unused_days,
        secret_type=RetirableMetadata,
    )


def read_report(
    transport: Transport,
    request: ScanRequest,
    policies: GivenPolicies,
    after_days: int,
    refused: Mapping[str, tuple[RefusedUse, ...]],
) -> LegacyReport:
    """Scan the cluster and return the states of its legacy Secrets. Raises `ApiError` and `click.ClickException`."""
    scan = scan_cluster(transport, request, policies)
    scanned = [*scan.snapshot.secrets, *scan.snapshot.used_copies]
    metadata = [secret for secret in scanned if isinstance(secret, RetirableMetadata)]
    analyzer = RetirementAnalyzer(scan.report, metadata, refused, after_days)
    return LegacyReport.of(scan.report, analyzer.secrets(), after_days)
