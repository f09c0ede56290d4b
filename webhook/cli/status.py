"""The `status` command: is this cluster protected, and if not, why.

The headline and the order of the problems are in `webhook/status/report.py`, the rows in `parts.py` beside it.
"""

from collections.abc import Mapping
from pathlib import Path

import click

from webhook.cli.common import NAMESPACE, cluster_options, connected, output_option, own_namespace_option
from webhook.cluster.status_reader import read_facts
from webhook.formatters import status_json, status_text
from webhook.formatters.formatter import Formatter, print_report
from webhook.status.parts import evaluate_status
from webhook.status.report import StatusReport

FORMATTERS: Mapping[str, Formatter[StatusReport]] = {
    "text": status_text.format_report,
    "json": status_json.format_report,
}


@click.command("status")
@own_namespace_option
@click.option("--probe/--no-probe", default=True, help="Create pods by dry run, to see what the API server does.")
@click.option("--probe-namespace", type=NAMESPACE,
              help="Namespace of these pods. Default: the namespace of the self-probe, if that exists,"
                   " otherwise 'default'.")  # fmt: skip
@output_option(FORMATTERS)
@cluster_options
def command(
    *,
    own_namespace: str,
    probe: bool,
    probe_namespace: str | None,
    output: str,
    kubeconfig: Path | None,
    context: str | None,
) -> int:
    """Show whether this cluster is protected, and if not, why.

    Shows replicas, certificate, policy, webhook configurations, excluded namespaces, what the API server does with
    test pods (by dry run), backstop and background scan; what is wrong; and the command that repairs it. Uses your own
    permissions, and lists what it could not read. Of the TLS Secret it decodes only the certificates.

    \b
    Exit status:
      0  protected
      1  a problem was found; pods may be unprotected
      2  usage error, or the API server cannot be reached or lets you read nothing
    """
    with connected(kubeconfig, context) as transport:
        report = evaluate_status(read_facts(transport, own_namespace, probe_namespace, probe=probe))
    print_report(FORMATTERS, output, report)
    if report.is_unknown:
        raise click.ClickException("nothing about the installation could be read")
    return int(not report.is_protected)
