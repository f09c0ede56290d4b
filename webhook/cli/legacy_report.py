"""What the `legacy` commands share: their options, and the report that they all begin with."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from webhook.cli.cluster_scan import GivenPolicies, ScanRequest, scan_cluster, scan_policy_options
from webhook.cli.common import cluster_options
from webhook.cluster.transport import Transport
from webhook.legacy.metadata import RetirableMetadata
from webhook.legacy.report import LegacyReport
from webhook.legacy.retirable import AFTER_DAYS, RetirementAnalyzer
from webhook.scan.options import UNUSED_DAYS, ScanFilters

F = TypeVar("F", bound=Callable[..., Any])


def report_options(command: F) -> F:
    """Add the options on which the states of the Secrets depend, those of the policy and those of the cluster."""
    unused = click.option(
        "--unused-days", type=click.IntRange(min=0), default=UNUSED_DAYS, metavar="DAYS",
        help="Days without use after which a token counts as unused.",
    )  # fmt: skip
    after = click.option(
        "--after-days", type=click.IntRange(min=0), default=AFTER_DAYS, metavar="DAYS",
        help="Days that a token must have been disabled without a refused use before its Secret may be deleted.",
    )  # fmt: skip
    return unused(after(scan_policy_options(cluster_options(command))))


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


def read_report(transport: Transport, request: ScanRequest, policies: GivenPolicies, after_days: int) -> LegacyReport:
    """Scan the cluster and return how far its legacy Secrets are. Raises `ApiError` and `click.ClickException`."""
    scan = scan_cluster(transport, request, policies)
    found = [*scan.snapshot.secrets, *scan.snapshot.used_copies]
    metadata = [secret for secret in found if isinstance(secret, RetirableMetadata)]
    analyzer = RetirementAnalyzer(scan.report, metadata, {}, after_days)
    return LegacyReport.of(scan.report, analyzer.secrets(), after_days)
