"""The `legacy` commands: list the Secrets with tokens that never expire, and retire them reversibly."""

from collections.abc import Mapping
from pathlib import Path

import click

from webhook.cli import legacy_changes
from webhook.cli.cluster_scan import scan_policy_options
from webhook.cli.common import NAMESPACE_GLOB, cluster_options, connected, output_option, schema_option
from webhook.cli.legacy_report import (
    read_report,
    refused_use_options,
    refused_uses,
    scan_request,
    unused_days_option,
)
from webhook.formatters import legacy_json, legacy_table, legacy_text
from webhook.formatters.formatter import FormatOptions, Formatter, print_report
from webhook.legacy.report import LegacyReport

FORMATTERS: Mapping[str, Formatter[LegacyReport]] = {
    "text": legacy_text.format_report,
    "table": legacy_table.format_report,
    "json": legacy_json.format_report,
}


@click.group("legacy")
def command() -> None:
    """List, disable, restore and delete legacy tokens.

    Legacy tokens are in Secrets of type kubernetes.io/service-account-token and never expire. Work in waves: list,
    disable some, wait, restore those that are still used, delete the rest. These commands read and send only metadata
    of Secrets. manifests/retire grants the permissions.
    """


@command.command("list")
@click.option("-n", "--namespace", "namespaces", multiple=True, type=NAMESPACE_GLOB,
              help="List only the Secrets of this namespace. * matches any characters. May be repeated.")  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="An entry for each Secret, also for those with the same details.")
@unused_days_option
@refused_use_options
@scan_policy_options
@cluster_options
@output_option(FORMATTERS)
@schema_option(legacy_json.report_schema)
def list_secrets(
    *,
    namespaces: tuple[str, ...],
    unused_days: int,
    after_days: int,
    audit_logs: tuple[str, ...],
    policy: str | None,
    policy_configmap: str,
    own_namespace: str,
    verbose: bool,
    output: str,
    kubeconfig: Path | None,
    context: str | None,
) -> int:
    """List the legacy Secrets of a cluster, the most urgent first.

    Shows each with its account and what RBAC allows the account, its age, its last use, what refers to it, and its
    state, such as in use, unused, too early to tell, disabled or removable. "disabled but still used" means that the
    API server has refused a request with this token within --after-days. With --output table, each Secret is one line.

    Exit status: 0 every legacy token is disabled, and none is "still used"; 1 a token is valid or "still used"; 2 usage
    error or failed run, or the Secrets could not be read.
    """
    request = scan_request(policy, policy_configmap, own_namespace, unused_days, namespaces)
    policies, refused = request.read_policies(), refused_uses(audit_logs)
    with connected(kubeconfig, context) as transport:
        report = read_report(transport, request, policies, after_days, refused)
    print_report(FORMATTERS, output, report, FormatOptions(verbose=verbose))
    return report.exit_status


for change in legacy_changes.COMMANDS:
    command.add_command(change)
