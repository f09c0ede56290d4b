"""The `scan` command: evaluates a live cluster."""

import datetime as dt
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

import click
from click.core import ParameterSource

from webhook.check.input_files import STDIN
from webhook.cli import scan_reports
from webhook.cli.common import (
    NAMESPACE_GLOB,
    NAMESPACED_NAME,
    cluster_options,
    connected,
    load_policy,
    output_option,
    own_namespace_option,
    policy_option,
    qualified_name,
)
from webhook.cli.policy_source import cluster_policy, mode_option
from webhook.cluster.scan_reader import ScanReader
from webhook.core.formatting import did_you_mean, quote
from webhook.core.policy.loader import default_policy
from webhook.core.policy.model import Action, Mode, Policy
from webhook.core.rules import BY_NAME
from webhook.core.selectors import Globs, glob_matches
from webhook.formatters import scan_json, scan_policyreport, scan_text
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, Formatter, print_report
from webhook.formatters.progress import Progress
from webhook.scan.options import UNUSED_DAYS, ScanFilters, ScanOptions
from webhook.scan.report import ScanReport
from webhook.scan.scanner import Scanner


def _html(report: ScanReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    from webhook.formatters.scan_html import page  # noqa: PLC0415 - the template engine takes long to import

    return page.format_report(report, options)


FORMATTERS: Mapping[str, Formatter[ScanReport]] = {
    "text": scan_text.format_report,
    "json": scan_json.format_report,
    "html": _html,
    scan_reports.FORMAT: scan_policyreport.format_report,
}


def _print_schema(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    if value:
        click.echo(json.dumps(scan_json.schema(), indent=2))
        context.exit(0)


@click.command("scan")
@policy_option("the cluster's policy, see --policy-configmap")
@click.option("--policy-configmap", default="token-policy", type=NAMESPACED_NAME,
              envvar="TOKENGUARD_POLICY_CONFIGMAP", show_envvar=True,
              help="ConfigMap with the cluster's policy. If it is missing, the default policy is used.")  # fmt: skip
@mode_option
@own_namespace_option
@click.option("--simulate", metavar="FILE", help="Show what would change under the policy in this file.")
@click.option("-n", "--namespace", "namespaces", multiple=True, type=NAMESPACE_GLOB,
              help="Scan only this namespace. * matches any characters. A name without * needs permissions in that"
                   " namespace only, a glob with * in the whole cluster. May be repeated.")  # fmt: skip
@click.option("--rule", "rules", multiple=True, type=click.Choice(tuple(BY_NAME)), metavar="RULE",
              help="Show only findings of this rule; outcomes count all findings. May be repeated.")  # fmt: skip
@click.option("--action", "actions", multiple=True, type=click.Choice([action.value for action in Action][:-1]),
              help="Show only findings with this action; outcomes count all findings. May be repeated.")  # fmt: skip
@click.option("--unused-days", type=click.IntRange(min=0), default=UNUSED_DAYS, metavar="DAYS",
              help="Days without use after which an unreferenced legacy Secret is safe to delete.")  # fmt: skip
@click.option("--api-audience", "api_audiences", multiple=True, metavar="NAME",
              help="Audience of the API server, if the policy names none. May be repeated. Default: those of the"
                   " ServiceAccount token that the scan uses; otherwise the token issuer and"
                   " https://kubernetes.default.svc, with and without .cluster.local.")  # fmt: skip
@output_option(FORMATTERS)
@scan_reports.report_options
@cluster_options
@click.option("--schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schema,
              help="Print the JSON Schema of --output json and exit.")  # fmt: skip
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
    write_reports: bool,
    report_api: str | None,
    status_configmap: str | None,
    kubeconfig: Path | None,
    context: str | None,
) -> int:
    """Evaluate a live cluster.

    Shows which pods the policy would deny, patch or warn about if they were recreated, and which legacy tokens exist.
    Changes nothing, except with --write-reports. Reads only metadata of Secrets: of legacy Secrets, and of other
    Secrets in which a legacy token was used. manifests/scanner grants the permissions.

    \b
    Examples:
      tokenguard scan
      tokenguard scan --namespace 'team-*' --rule legacy-token-reference
      tokenguard scan --simulate stricter.yaml --output html > report.html
      tokenguard scan --output policyreport --write-reports

    Exit status: 0 nothing would be denied; 1 something would be denied (with --simulate: by that policy); 2 usage error
    or failed run, or something that the outcomes depend on could not be read.
    """
    if STDIN == policy == simulate:
        raise click.UsageError("--policy and --simulate cannot both be standard input")
    filters = ScanFilters(namespaces, rules, tuple(map(Action, actions)))
    reports = scan_reports.ReportOptions(report_api, write_reports, status_configmap)
    reports.check(output, filters, simulates=simulate is not None)
    configmap = qualified_name(policy_configmap, own_namespace)
    given = load_policy(policy) if policy else None
    simulated = load_policy(simulate) if simulate else None
    with connected(kubeconfig, context) as transport:
        with Progress(sys.stderr) as progress:
            reader = ScanReader(transport, progress.step, () if Globs(namespaces).wild else namespaces)
            current, origin = (given, str(policy)) if given else _cluster_policy(reader, configmap)
            if mode:
                current, origin = current.with_mode(Mode(mode)), f"--mode {mode}, {origin}"
            snapshot = reader.snapshot()
            snapshot.own_namespace = own_namespace if _is_given("own_namespace") else configmap.partition("/")[0]
            if snapshot.all_namespaces and snapshot.namespaces:
                _require_matches(namespaces, snapshot.namespaces)
            snapshot.given_audiences, snapshot.token_audiences = api_audiences, transport.token_audiences()
            options = ScanOptions(
                policy=current,
                policy_origin=origin,
                now=dt.datetime.now(dt.UTC).replace(microsecond=0),
                cluster=transport.address,
                context=transport.context,
                simulated=simulated,
                simulated_origin=simulate or "",
                filters=filters,
                unused_days=unused_days,
            )
            scanner = Scanner(options, snapshot)
            reader.fill(scanner)
            progress.step("writing the report")
            report = scanner.report()
        if write_reports:
            return scan_reports.write_reports(report, reports, transport, own_namespace)
        if output == scan_reports.FORMAT:
            return scan_reports.print_reports(report, reports, transport)
    print_report(FORMATTERS, output, report)
    return report.exit_status


def _is_given(parameter: str) -> bool:
    """Return whether an option was given, as a flag or in the environment."""
    return click.get_current_context().get_parameter_source(parameter) != ParameterSource.DEFAULT


def _require_matches(globs: Iterable[str], namespaces: Collection[str]) -> None:
    """Fail if a glob matches no namespace: an empty scan must not look clean."""
    for glob in globs:
        if not any(glob_matches(glob, namespace) for namespace in namespaces):
            hint = did_you_mean(glob, get_close_matches(glob, namespaces))
            raise click.ClickException(f"--namespace {quote(glob)}: no such namespace{hint}")


def _cluster_policy(reader: ScanReader, configmap: str) -> tuple[Policy, str]:
    """Return the policy in a ConfigMap, or the default policy if there is none, and its name in the report."""
    policy = cluster_policy(reader, configmap)
    if policy is None:
        return default_policy(), f"default policy (no {configmap})"
    return policy, f"ConfigMap {configmap}"
