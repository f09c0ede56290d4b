"""The `scan` command: evaluates a live cluster."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

import click

from webhook.check.input_files import STDIN
from webhook.cli import scan_reports
from webhook.cli.cluster_scan import ScanRequest, scan_cluster, scan_policy_options
from webhook.cli.common import (
    DAYS,
    NAMESPACE_GLOB,
    Choice,
    Parsed,
    cluster_options,
    connected,
    output_option,
    scan_api_audience_option,
    schema_option,
)
from webhook.cli.policy_source import mode_option
from webhook.core.formatting import plain, quote
from webhook.core.policy.model import Action
from webhook.core.rules import BY_NAME
from webhook.formatters import scan_json, scan_policyreport, scan_text
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, Formatter, print_report
from webhook.formatters.migrate import CHECKLIST
from webhook.scan.options import UNUSED_DAYS, ScanFilters
from webhook.scan.report import ScanReport


def _html(report: ScanReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    from webhook.formatters.scan_html import page  # noqa: PLC0415 - the template engine takes long to import

    return page.format_report(report, options)


FORMATTERS: Mapping[str, Formatter[ScanReport]] = {
    "text": scan_text.format_report,
    "json": scan_json.format_report,
    "html": _html,
    scan_reports.FORMAT: scan_policyreport.format_report,
}


def _link(value: str) -> str:
    """Return a path or URL that a page can link to."""
    if re.match(r"(?!https?:)[^/?#]*:", value, re.IGNORECASE):
        raise ValueError(f"{quote(value)} is neither a path nor a URL that begins with https:// or http://")
    return value


def _warn_without_checklists(checklists: str) -> None:
    """Warn if a folder has no checklist. A page in another folder may find them, so it is no error."""
    if re.match(r"https?:|//", checklists, re.IGNORECASE):
        return
    folder = Path(unquote(checklists))
    if not any(folder.glob(f"*/{CHECKLIST}")):
        found = "has no checklist" if folder.is_dir() else "no such folder in the working directory"
        hint = "the links of the page are broken unless it is moved beside one: see 'tokenguard migrate'"
        click.echo(f"warning: --checklists {plain(checklists)}: {found}; {hint}", err=True)


@click.command("scan")
@scan_policy_options
@mode_option
@click.option("--simulate", metavar="FILE", help="Show what would change under the policy in this file.")
@click.option("-n", "--namespace", "namespaces", multiple=True, type=NAMESPACE_GLOB,
              help="Scan only this namespace. * matches any characters. A name without * needs permissions in that"
                   " namespace only, a pattern with * needs them in the whole cluster. May be repeated.")  # fmt: skip
@click.option("--rule", "rules", multiple=True, type=Choice(tuple(BY_NAME)), metavar="RULE",
              help="Show only findings of this rule; outcomes count all findings. May be repeated.")  # fmt: skip
@click.option("--action", "actions", multiple=True, type=Choice([action.value for action in Action][:-1]),
              help="Show only findings with this action; outcomes count all findings. May be repeated.")  # fmt: skip
@click.option("--unused-days", type=DAYS, default=UNUSED_DAYS, metavar="DAYS",
              help="Days without use after which a legacy Secret without references counts as safe to"
                   " delete.")  # fmt: skip
@scan_api_audience_option(", if the policy names none")
@output_option(FORMATTERS)
@click.option("--summary", is_flag=True, help="With --output text: print only the summary, and what could not be read.")
@click.option("--checklists", type=Parsed("URL", _link), default="", show_default=False,
              help="With --output html: URL or folder (relative to the page) of the checklists that 'tokenguard"
                   " migrate' wrote; the page links to them.")  # fmt: skip
@scan_reports.report_options
@cluster_options
@schema_option(scan_json.schema)
def command(
    *,
    policy: str | None,
    policy_configmap: str,
    mode: str | None,
    own_namespace: str,
    simulate: str | None,
    namespaces: tuple[str, ...],
    rules: tuple[str, ...],
    actions: tuple[str, ...],
    unused_days: int,
    api_audiences: tuple[str, ...],
    output: str,
    summary: bool,
    checklists: str,
    write_reports: bool,
    report_api: str | None,
    status_configmap: str | None,
    kubeconfig: Path | None,
    context: str | None,
) -> int:
    """Evaluate a live cluster.

    Shows which pods the policy would deny, patch or warn about if they were recreated, and which legacy tokens exist.
    Changes nothing, except with --write-reports. Reads only the metadata of legacy Secrets, and of other Secrets in
    which a legacy token was used. manifests/scanner grants the permissions.

    \b
    Examples:
      tokenguard scan
      tokenguard scan --namespace 'team-*' --rule legacy-token-reference
      tokenguard scan --simulate stricter.yaml --output html > report.html
      tokenguard scan --output policyreport --write-reports

    Exit status: 0 no workload would be denied; 1 one would be denied (with --simulate: by that policy); 2 usage error
    or failed run, or something that the outcomes depend on could not be read, whatever else was found.
    """
    if STDIN == policy == simulate:
        raise click.UsageError("--policy and --simulate cannot both be standard input")
    filters = ScanFilters(
        namespaces=tuple(dict.fromkeys(namespaces)),
        rules=tuple(dict.fromkeys(rules)),
        actions=tuple(dict.fromkeys(map(Action, actions))),
    )
    reports = scan_reports.ReportOptions(report_api, write_reports, status_configmap)
    if summary and output != "text":
        raise click.UsageError("--summary requires --output text")
    if checklists and output != "html":
        raise click.UsageError("--checklists requires --output html")
    if checklists:
        _warn_without_checklists(checklists)
    reports.check(output, filters, simulates=simulate is not None)
    request = ScanRequest(
        policy=policy,
        policy_configmap=policy_configmap,
        own_namespace=own_namespace,
        filters=filters,
        mode=mode,
        simulate=simulate,
        unused_days=unused_days,
        api_audiences=api_audiences,
    )
    policies = request.read_policies()
    with connected(kubeconfig, context) as transport:
        report = scan_cluster(transport, request, policies).report
        if write_reports:
            return scan_reports.write_reports(report, reports, transport, own_namespace)
        if output == scan_reports.FORMAT:
            return scan_reports.print_reports(report, reports, transport)
    print_report(FORMATTERS, output, report, FormatOptions(summary=summary, checklists=checklists))
    return report.exit_status
