"""The `policy init` command: drafts a policy from a scan of the cluster."""

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import click

from webhook.cli.common import POSITIVE_DAYS, cluster_options, connected, own_namespace_option, scan_api_audience_option
from webhook.cluster.scan_reader import ScanReader
from webhook.core.documents.yaml_writer import write_document
from webhook.core.formatting import plain
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.formatters.policy_draft import draft_lines, draft_result
from webhook.formatters.progress import Progress
from webhook.scan.draft_policy import allowed_audiences, audiences_in_use, base_document, draft_policy
from webhook.scan.options import ScanOptions
from webhook.scan.report import ScanReport
from webhook.scan.scanner import Scanner


def _refuse_namespace(_context: click.Context, _option: click.Parameter, namespace: str | None) -> None:
    if namespace is not None:
        message = "policy init drafts for the whole cluster, as one policy is for all namespaces"
        raise click.UsageError(f"{message}; to see one namespace, run: tokenguard scan -n {plain(namespace)}")


@click.command("init")
@click.option("--days", type=POSITIVE_DAYS, default=90, metavar="DAYS",
              help="Days after which the exemptions of the draft end.")  # fmt: skip
@click.option("--exempt-secrets", is_flag=True,
              help="Also exempt, from the rule legacy-token-secret, the accounts of legacy Secrets in use, so that"
                   " these can be created again. Anyone who may create Secrets there can then get new tokens of these"
                   " accounts.")  # fmt: skip
@click.option("--audiences-by-namespace", is_flag=True,
              help="If only one namespace uses an audience, allow it in that namespace only, by an"
                   " override.")  # fmt: skip
@click.option("-n", "--namespace", hidden=True, expose_value=False, callback=_refuse_namespace)
@scan_api_audience_option("")
@own_namespace_option
@cluster_options
def command(
    *,
    days: int,
    exempt_secrets: bool,
    audiences_by_namespace: bool,
    api_audiences: tuple[str, ...],
    own_namespace: str,
    kubeconfig: Path | None,
    context: str | None,
) -> int:
    """Draft a policy from a scan.

    Prints a policy in mode enforce that allows the audiences in use, so that nothing that runs is denied. The policy is
    made from the scan alone, whatever policy the cluster has. TokenRequests, which a scan cannot see, only get
    warnings. If a rule would deny more than half of the workloads of a namespace, and at least four, an override lets
    it warn there. Otherwise the account of each workload that would be denied gets an exemption with an end date.
    Comments say why, and what the exempt accounts may do. Existing legacy Secrets stay, but nobody can create them
    again, unless you add --exempt-secrets. A second scan checks the draft; the first comment names what would be denied
    all the same. Needs the permissions of scan.

    \b
    Example:
      tokenguard policy init > policy.yaml
      tokenguard scan --policy policy.yaml

    Exit status: 0 nothing that runs would be denied under the draft; 1 something that runs would be denied, and
    the draft names it; 2 usage error or failed run. If something that outcomes depend on cannot be read, nothing is
    drafted (2).
    """
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    with connected(kubeconfig, context) as transport, Progress(sys.stderr) as progress:
        reader = ScanReader(transport, progress.step)
        snapshot = reader.snapshot(own_namespace, api_audiences)

        def scan(policy: Policy) -> ScanReport:
            scanner = Scanner(ScanOptions(policy, "draft", now, transport.address), snapshot)
            reader.fill(scanner)
            return scanner.report()

        current = scan(default_policy())
        if unread := [unread for unread in current.unread if unread.affects_decisions]:
            errors = "".join(f"\nerror: {part.error}; missing: {part.missing}" for part in unread)
            raise click.ClickException(f"no policy was drafted, as a part of the cluster could not be read{errors}")
        audiences = allowed_audiences(current)
        if audiences and len(audiences) < len(audiences_in_use(current)):  # see what the list of audiences denies
            current = scan(_policy(base_document(audiences)))
        document = draft_policy(
            current,
            now.date() + dt.timedelta(days),
            exempts_secrets=exempt_secrets,
            audiences_by_namespace=audiences_by_namespace,
        )
        policy = _policy(document)
        report = scan(policy)
    for line in draft_lines(document, current, report, policy):
        click.echo(line)
    for missing in report.unread:
        click.echo(f"warning: {missing.error}; missing: {missing.missing}", err=True)
    if not sys.stdout.isatty():
        click.echo(draft_result(report, policy), err=True)
    return report.exit_status


def _policy(document: dict[str, Any]) -> Policy:
    policy = read_policy(write_document(document).encode())
    if not isinstance(policy, Policy):
        problems = "; ".join(f"{error.path}: {error.message}" for error in policy)
        raise click.ClickException(f"cannot draft a policy for this cluster: {problems}")
    return policy
