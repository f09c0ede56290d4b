"""The policy reports of `scan`: printed, or written to the cluster."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import click
import msgspec

from webhook.cli.common import NAMESPACED_NAME, Choice, qualified_name
from webhook.cluster.report_writer import ReportWriter, served_report_apis
from webhook.cluster.transport import Transport
from webhook.core.formatting import counted, plain
from webhook.core.selectors import Globs
from webhook.formatters import scan_policyreport
from webhook.formatters.formatter import print_report
from webhook.scan.options import ScanFilters
from webhook.scan.report import ScanReport
from webhook.scan.report_api import REPORT_APIS, ReportApi
from webhook.scan.status import KEY, ScanStatus

FORMAT = "policyreport"
REPORT_GROUPS = tuple(api.group for api in REPORT_APIS)
F = TypeVar("F", bound=Callable[..., object])


def report_options(command: F) -> F:
    """Add the options for policy reports."""
    write = click.option(
        "--write-reports", is_flag=True,
        help="With --output policyreport: write the reports to the cluster, and delete stale ones. Exit status 0 if"
             " that succeeds, whatever was found.",
    )  # fmt: skip
    api = click.option(
        "--report-api", type=Choice(REPORT_GROUPS), metavar="GROUP",
        help=f"API group of the reports: {' or '.join(REPORT_GROUPS)}. Default: the first one that the cluster serves.",
    )  # fmt: skip
    status = click.option(
        "--status-configmap", type=NAMESPACED_NAME,
        help="With --write-reports: write time and counts to this ConfigMap, which must exist.",
    )  # fmt: skip
    return write(api(status(command)))


@dataclass(frozen=True)
class ReportOptions:
    """What to do with the policy reports; `api` is the API group, None for one that the cluster serves."""

    api: str | None
    write: bool
    status_configmap: str | None

    def check(self, output: str, filters: ScanFilters, *, simulates: bool) -> None:
        """Raise `click.UsageError` if options exclude each other."""
        if output != FORMAT and (self.api or self.write):
            raise click.UsageError(f"--report-api and --write-reports require --output {FORMAT}")
        if self.status_configmap and not self.write:
            raise click.UsageError("--status-configmap requires --write-reports")
        if output == FORMAT and simulates:
            raise click.UsageError(f"--output {FORMAT} excludes --simulate: the reports are about the policy in force")
        if self.write and not filters.show_all_findings:
            raise click.UsageError(
                "--write-reports excludes --rule and --action: the reports would lack other findings"
            )
        if self.status_configmap and filters.namespaces:
            raise click.UsageError("--status-configmap excludes --namespace: the counts are those of the whole cluster")

    def selected_api(self, transport: Transport) -> tuple[ReportApi, tuple[ReportApi, ...]]:
        """Return the API of the reports, and the others that are served. Raises `click.ClickException`."""
        served = served_report_apis(transport)
        usable = [api for api in (served if self.write else REPORT_APIS) if self.api in (None, api.group)]
        if not usable:
            names = self.api or " nor ".join(REPORT_GROUPS)
            raise click.ClickException(
                f"the cluster does not serve {names}: install its CustomResourceDefinitions, see docs/scan.md"
            )
        chosen = next((api for api in usable if api in served), usable[0])
        return chosen, tuple(api for api in served if api != chosen)


def print_reports(report: ScanReport, options: ReportOptions, transport: Transport) -> int:
    """Print the reports as YAML; return the exit status."""
    api, _ = options.selected_api(transport)
    _print_unread(report)
    print_report({FORMAT: partial(scan_policyreport.format_report, api=api)}, FORMAT, report)
    return report.exit_status


def write_reports(report: ScanReport, options: ReportOptions, transport: Transport, own_namespace: str) -> int:
    """Write the reports to the cluster; return the exit status.

    Nothing is written if something that decisions depend on could not be read: the last reports and the last status
    stay, and the age of the status shows it.
    """
    _print_unread(report)
    if any(unread.affects_decisions for unread in report.unread):
        raise click.ClickException("no report written: the outcomes may be wrong")
    api, others = options.selected_api(transport)
    reports = tuple(scan_policyreport.policy_reports(report, api))
    selected = Globs(report.filters.namespaces)
    writer = ReportWriter(
        transport,
        api,
        () if selected.wild else report.filters.namespaces,
        selected.match if selected else lambda _: True,
    )
    counts = writer.write(reports, others)
    status = _status(report, api, reports)
    if options.status_configmap:
        namespace, _, name = qualified_name(options.status_configmap, own_namespace).partition("/")
        data = {KEY: msgspec.json.encode(status).decode()}
        transport.patch(f"/api/v1/namespaces/{namespace}/configmaps/{name}", {"data": data})
    results = ", ".join(f"{count} {name}" for name, count in status.results.items())
    click.echo(
        f"{counted(counts.written, 'report')} written, {counts.unchanged} unchanged, {counts.deleted} deleted"
        f" ({api.api_version}): {results}; {counted(sum(status.unevaluated_pods.values()), 'running pod')}"
        " would be denied as they run"
    )
    return 0


def _status(report: ScanReport, api: ReportApi, reports: tuple[dict[str, object], ...]) -> ScanStatus:
    admissions = Counter(pod.admission for pod in report.unevaluated_pods)
    return ScanStatus(
        time=report.time,
        policy=report.policy.revision,
        api=api.api_version,
        reports=len(reports),
        results=scan_policyreport.result_counts(reports),
        left_out=sum(map(scan_policyreport.left_out, reports)),
        pods=report.summary.pods,
        unevaluated_pods={admission.value: count for admission, count in admissions.items()},
        legacy_secrets=len(report.legacy_secrets),
    )


def _print_unread(report: ScanReport) -> None:
    for unread in report.unread:
        click.echo(f"not read: {unread.resource}: {plain(unread.reason)}; hint: {unread.hint}", err=True)
