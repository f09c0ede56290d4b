"""The `policy init` command: drafts a policy from a scan of the cluster."""

import datetime as dt
import sys
from pathlib import Path

import click

from webhook.cli.common import cluster_options, connected, own_namespace_option
from webhook.cluster.scan_reader import ScanReader
from webhook.core.documents.yaml_writer import write_document
from webhook.core.formatting import counted, plain
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.formatters.progress import Progress
from webhook.scan.draft_policy import audiences_in_use, denied_in_use, draft_policy, mostly_denied, shorten_list
from webhook.scan.options import ScanOptions
from webhook.scan.report import ScanReport
from webhook.scan.scanner import Scanner


@click.command("init")
@click.option("--days", type=click.IntRange(min=1), default=90, metavar="DAYS",
              help="Days after which the exemptions of the draft end.")  # fmt: skip
@own_namespace_option
@cluster_options
def command(days: int, own_namespace: str, kubeconfig: Path | None, context: str | None) -> int:
    """Draft a policy from a scan.

    Prints a policy that allows the audiences in use and, in mode enforce, denies nothing that is in use. Namespaces in
    which most workloads would be denied get an override with mode warn. In other namespaces, the accounts of what would
    be denied get an exemption with an end date. Legacy Secrets that are safe to delete get no exemption: existing ones
    stay, but cannot be created again. A second scan checks the draft. Needs the permissions of scan.

    \b
    Example:
      tokenguard policy init > policy.yaml
      tokenguard scan --policy policy.yaml

    Exit status: 0 nothing in use would be denied under the draft; 1 something would be, and the draft names it; 2 usage
    error or failed run, or something that outcomes depend on could not be read.
    """
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    with connected(kubeconfig, context) as transport, Progress(sys.stderr) as progress:
        reader = ScanReader(transport, progress.step)
        snapshot = reader.snapshot(own_namespace)

        def scan(policy: Policy) -> ScanReport:
            scanner = Scanner(ScanOptions(policy, "draft", now, transport.address), snapshot)
            reader.fill(scanner)
            return scanner.report()

        current = scan(default_policy())
        text = write_document(draft_policy(current, now.date() + dt.timedelta(days))).removeprefix("---\n")
        policy = read_policy(text.encode())
        if not isinstance(policy, Policy):
            problems = "; ".join(f"{error.path}: {error.message}" for error in policy)
            raise click.ClickException(f"cannot draft a policy for this cluster: {problems}")
        report = scan(policy)
    denied = denied_in_use(report)
    result = f"still denies {shorten_list(map(plain, denied))}" if denied else "denies nothing that is in use"
    for line in _comments(current, report, result):
        click.echo(f"# {line}")
    click.echo(text, nl=False)
    for unread in report.unread:
        click.echo(
            f"{'error' if unread.affects_decisions else 'warning'}: {unread.error}; missing: {unread.missing}", err=True
        )
    if not sys.stdout.isatty():
        click.echo(f"{_scanned(report)}; in mode enforce, the draft {result}", err=True)
    return 2 if any(unread.affects_decisions for unread in report.unread) else int(bool(denied))


def _scanned(report: ScanReport) -> str:
    workloads, secrets = report.summary.workloads, report.legacy_secrets
    return f"scanned {counted(workloads.total, 'workload')} and {counted(len(secrets), 'legacy Secret')}"


def _comments(current: ScanReport, report: ScanReport, result: str) -> list[str]:
    """Return the lines above the draft; `current` is the report of the default policy, `report` that of the draft."""
    missing = [
        f"INCOMPLETE, not read: {plain(unread.resource)}" for unread in report.unread if unread.affects_decisions
    ]
    uses = [
        f"  {plain(audience)}: {counted(counts.total(), 'workload')} in {shorten_list(map(plain, sorted(counts)))}"
        for audience, counts in audiences_in_use(current).items()
    ]
    lenient = [
        f"  {plain(namespace)}: {denied} of {counted(total, 'workload')} would be denied"
        for namespace, (denied, total) in sorted(mostly_denied(current).items())
    ]
    removable = sum(secret.removable for secret in report.legacy_secrets)
    return [
        f"Draft of {report.time:%Y-%m-%d} for {plain(report.cluster)}, by tokenguard policy init: {_scanned(report)}.",
        *missing,
        f"In mode enforce it {result}. Review each audience, override and exemption.",
        *(["Audiences in use, all of them allowed:", *uses] if uses else []),
        *(["Namespaces with mode warn, in which nothing is denied or capped:", *lenient] if lenient else []),
        *([f"Not exempt: {counted(removable, 'legacy Secret')} that are safe to delete; see tokenguard legacy list."]
          if removable else []),
    ]  # fmt: skip
