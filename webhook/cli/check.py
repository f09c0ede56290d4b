"""The `check` command: evaluates manifests in files."""

import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from webhook.check.checker import check
from webhook.check.fix import changed_documents, fixed_documents
from webhook.check.input_files import STDIN, InputProblem, find
from webhook.check.report import OUTCOMES, CheckReport
from webhook.cli.common import FILE, output_option, own_namespace_option
from webhook.cli.policy_source import PolicyOptions, mode_option, policy_options, read_policy_options
from webhook.core.formatting import counted
from webhook.core.policy.model import Action
from webhook.formatters import check_concise, check_json, check_sarif, check_text
from webhook.formatters.check_lines import problem_line
from webhook.formatters.formatter import LINE_FORMATS, FormatOptions, Formatter, print_report
from webhook.formatters.progress import Progress

FORMATTERS: Mapping[str, Formatter[CheckReport]] = {
    "text": check_text.format_report,
    "concise": check_concise.format_report,
    "json": check_json.format_report,
    "sarif": check_sarif.format_report,
}


@click.command("check", context_settings={"auto_envvar_prefix": "TOKENGUARD"})
@click.argument("paths", nargs=-1, type=FILE, metavar="[PATH|-]...")
@policy_options
@mode_option
@output_option(FORMATTERS)
@click.option("--fail-on", type=click.Choice([action.value for action in OUTCOMES]), default=Action.WARN.value,
              help="Exit with 1 only for findings with this action or a stronger one.")  # fmt: skip
@click.option("--fix", is_flag=True,
              help="Print the manifests as the webhook would patch them, as YAML; findings go to stderr. Changed"
                   " documents lose comments and layout, all others are printed unchanged.")  # fmt: skip
@click.option("--exclude", multiple=True, metavar="GLOB",
              help="Skip files and folders, as a line of .gitignore does: a name at any depth or, with a slash, a path"
                   " below a given folder; ** matches any number of folders. May be repeated.")  # fmt: skip
@click.option("-n", "--namespace", metavar="NAME", default="default",
              help="Namespace of objects without metadata.namespace.")  # fmt: skip
@own_namespace_option
@click.option("-v", "--verbose", is_flag=True,
              help="Also show findings with action audit, exempt objects, injections, other objects.")  # fmt: skip
def command(
    paths: tuple[str, ...],
    *,
    policy: str | None,
    policy_configmap: str | None,
    kubeconfig: Path | None,
    context: str | None,
    mode: str | None,
    output: str,
    fail_on: str,
    fix: bool,
    exclude: tuple[str, ...],
    namespace: str,
    own_namespace: str,
    verbose: bool,
) -> int:
    """Evaluate manifests offline.

    PATH is a file, a folder, or - for standard input (default). Secrets, Namespaces and ServiceAccounts among the
    manifests are used as the state of the cluster. In folders, unrendered templates and files that are not manifests
    are skipped and counted.

    \b
    Examples:
      tokenguard check deploy/
      helm template chart/ | tokenguard check -
      tokenguard check --policy policy.yaml --output sarif deploy/ > results.sarif

    Every option has an environment variable: TOKENGUARD_ and its name, like TOKENGUARD_OUTPUT.

    Exit status: 0 no finding; 1 an object would be denied, patched or warned about; 2 a manifest cannot be read, or
    there is none.
    """
    stdin = sys.stdin.buffer
    if not paths and stdin.isatty():
        raise click.UsageError("no input; name a file, a folder, or - for standard input")
    options = PolicyOptions(policy, policy_configmap, own_namespace, kubeconfig, context)
    with Progress(sys.stderr) as progress:
        loaded_policy, in_use = read_policy_options(options, mode)
        report = check(
            find(paths or (STDIN,), exclude),
            loaded_policy,
            now=dt.datetime.now(dt.UTC),
            namespace=namespace,
            own_namespace=own_namespace,
            stdin=stdin,
            in_use=in_use,
            step=progress.step,
        )
    report.fail_on = Action(fail_on)
    documents = fixed_documents(report) if fix else ()
    if not isinstance(documents, InputProblem):
        for document in documents:
            click.echo(document.encode(), nl=False)
    print_report(FORMATTERS, output, report, FormatOptions(verbose=verbose), err=fix)
    if fix:
        _print_fix_notes(report, documents)
    elif output not in LINE_FORMATS:
        for problem in report.problems:
            click.echo(problem_line(problem), err=True)
        for warning in report.warnings:
            click.echo(problem_line(warning, "warning"), err=True)
    return 2 if isinstance(documents, InputProblem) else report.exit_status


def _print_fix_notes(report: CheckReport, documents: tuple[str, ...] | InputProblem) -> None:
    """Print to stderr how many documents changed, and which were not evaluated."""
    if isinstance(documents, InputProblem):
        click.echo(problem_line(documents), err=True)
        return
    for problem in (*report.problems, *(found.problem for found in report.not_evaluated if not found.kind)):
        if problem.document is not None:
            click.echo(problem_line(problem, "note", "; not evaluated, printed unchanged"), err=True)
    if changed := changed_documents(report):
        click.echo(f"{counted(changed, 'document')} changed; comments and layout are lost", err=True)
