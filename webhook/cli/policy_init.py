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
from webhook.formatters.scan_findings import grants_text
from webhook.scan.draft_policy import audiences_in_use, denied_in_use, draft_policy, mostly_denied, shorten_list
from webhook.scan.options import ScanOptions
from webhook.scan.report import ScanReport
from webhook.scan.scanner import Scanner


def _refuse_namespace(_context: click.Context, _option: click.Parameter, namespace: str | None) -> None:
    if namespace is not None:
        message = "policy init drafts for the whole cluster, as one policy is for all namespaces"
        raise click.UsageError(f"{message}; to see one namespace, run: tokenguard scan -n {plain(namespace)}")


@click.command("init")
@click.option("--days", type=click.IntRange(min=1), default=90, metavar="DAYS",
              help="Days after which the exemptions of the draft end.")  # fmt: skip
@click.option("-n", "--namespace", hidden=True, expose_value=False, callback=_refuse_namespace)
@own_namespace_option
@cluster_options
def command(days: int, own_namespace: str, kubeconfig: Path | None, context: str | None) -> int:
    """Draft a policy from a scan.

    Prints a policy that allows the audiences in use and, in mode enforce, denies nothing that is in use. Namespaces in
    which most workloads would be denied get an override with mode warn. In other namespaces, the account of each
    workload or Secret that would be denied gets an exemption with an end date. Legacy Secrets that are not in use get
    no exemption. Comments say why, and what the exempt accounts may do. A second scan checks the draft. Needs the
    permissions of scan.

    \b
    Example:
      tokenguard policy init > policy.yaml
      tokenguard scan --policy policy.yaml

    Exit status: 0 nothing in use would be denied under the draft; 1 something would be, and the draft names it; 2 usage
    error or failed run. If something that outcomes depend on cannot be read, nothing is drafted (2).
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
        if unread := [unread for unread in current.unread if unread.affects_decisions]:
            errors = "".join(f"\nerror: {part.error}; missing: {part.missing}" for part in unread)
            raise click.ClickException(f"no policy was drafted, as a part of the cluster could not be read{errors}")
        text = write_document(draft_policy(current, now.date() + dt.timedelta(days))).removeprefix("---\n")
        policy = read_policy(text.encode())
        if not isinstance(policy, Policy):
            problems = "; ".join(f"{error.path}: {error.message}" for error in policy)
            raise click.ClickException(f"cannot draft a policy for this cluster: {problems}")
        report = scan(policy)
    denied = denied_in_use(report)
    result = f"still denies {shorten_list(map(plain, denied))}" if denied else "denies nothing that the scan saw in use"
    for line in _comments(current, report, policy, result):
        click.echo(f"# {line}")
    click.echo(text, nl=False)
    for missing in report.unread:
        click.echo(f"warning: {missing.error}; missing: {missing.missing}", err=True)
    if not sys.stdout.isatty():
        click.echo(f"{_scanned(report)}; in mode enforce, the draft {result}", err=True)
    return int(bool(denied))


def _scanned(report: ScanReport) -> str:
    workloads = report.summary.workloads
    return f"scanned {counted(workloads.total, 'workload')} and {counted(len(report.legacy_secrets), 'legacy Secret')}"


def _comments(current: ScanReport, report: ScanReport, policy: Policy, result: str) -> list[str]:
    """Return the lines above the draft; `current` is the report of the default policy, `report` that of the draft."""
    uses = [
        f"  {plain(audience)}: {counted(counts.total(), 'workload')} in {shorten_list(map(plain, sorted(counts)))}"
        for audience, counts in audiences_in_use(current).items()
    ]
    lenient = [
        f"  {plain(namespace)}: {denied} of {counted(total, 'workload')} would be denied"
        for namespace, (denied, total) in sorted(mostly_denied(current).items())
    ]
    idle = sum(not secret.in_use for secret in report.legacy_secrets)
    return [
        f"Draft of {report.time:%Y-%m-%d} for {plain(report.cluster)}, by tokenguard policy init: {_scanned(report)}.",
        f"In mode enforce it {result}. Review each audience, override and exemption.",
        "It caps the tokens of pods, which breaks clients that read their token only once, and rejects TokenRequests",
        "that live too long, which a scan cannot see. Before you enforce it, follow docs/rollout.md.",
        *(["Audiences in use, all of them allowed:", *uses] if uses else []),
        *(["Namespaces with mode warn, in which nothing is denied or capped:", *lenient] if lenient else []),
        *(["Exempt accounts, which may go on as they do, and what they may do:", *_exempt_accounts(current, policy)]
          if policy.exemptions else []),
        *([f"Legacy Secrets that are not in use, and need no exemption: {idle}."] if idle else []),
    ]  # fmt: skip


def _exempt_accounts(current: ScanReport, policy: Policy) -> list[str]:
    """Return the permissions of each exempt account that is known."""
    grants = {
        (workload.namespace, account.name): account.grants
        for workload in current.workloads
        for account in workload.accounts
    } | {(account.namespace, account.name): account.grants for account in current.accounts_with_tokens}
    exempt = sorted(
        {
            (namespace, account)
            for exemption in policy.exemptions
            for namespace in exemption.namespaces.patterns
            for account in exemption.service_accounts.patterns or ("",)
        }
    )
    return [
        f"  {plain(namespace)}/{plain(account)}: {grants_text(grants.get((namespace, account)))}"
        if account
        else f"  every account of {plain(namespace)}"
        for namespace, account in exempt
    ]
