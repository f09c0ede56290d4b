"""The `check` command: evaluates manifests in files."""

import datetime as dt
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from webhook.check.checker import check
from webhook.check.fix import changed_documents, fixed_documents
from webhook.check.input_files import STDIN, InputProblem, find
from webhook.check.report import CheckReport
from webhook.cli.common import policy_in
from webhook.core.formatting import counted
from webhook.formatters import check_json, check_sarif, check_text
from webhook.formatters.formatter import FormatOptions, Formatter, print_report
from webhook.formatters.progress import Progress

FORMATTERS: Mapping[str, Formatter[CheckReport]] = {
    "text": check_text.format_report,
    "json": check_json.format_report,
    "sarif": check_sarif.format_report,
}
F = TypeVar("F", bound=Callable[..., Any])


def _option(*names: str, help: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: A002 - click's own word
    variable = "TOKENGUARD_" + max(names, key=len).lstrip("-").upper()
    return click.option(*names, help=help, envvar=variable, show_envvar=True, **settings)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.argument("paths", nargs=-1, metavar="[PATH|-]..."),
    _option("--policy", metavar="FILE", help="Policy document or ConfigMap manifest; without it the default policy."),
    _option("-o", "--output", type=click.Choice([*FORMATTERS]), default="text", show_default=True,
            help="Output format."),
    _option("--fix", is_flag=True,
            help="Print the manifests as the webhook would patch them, as YAML; findings go to stderr. Changed"
                 " documents lose their comments and layout; all others are printed unchanged, unreadable ones too."),
    _option("--exclude", multiple=True, metavar="GLOB",
            help="Leave out files and folders below the given folders, like a line of .gitignore: a name at any depth,"
                 " or a path if it contains a slash; ** matches any number of folders. May be repeated."),
    _option("-n", "--namespace", metavar="NAME", default="default", show_default=True,
            help="Namespace of objects that name none."),
    _option("-v", "--verbose", is_flag=True,
            help="Also show findings with action audit, exempt objects, injections and skipped documents."),
)  # fmt: skip


def _check_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("check")
@_check_options
def check_command(
    paths: tuple[str, ...],
    policy: str | None,
    output: str,
    *,
    fix: bool,
    exclude: tuple[str, ...],
    namespace: str,
    verbose: bool,
) -> None:
    """Evaluate manifests offline.

    Paths are files, folders, or - for standard input. The Secrets, Namespaces and ServiceAccounts among the manifests
    are the cluster state of the evaluation. In a folder, files that are no manifests and unrendered templates are
    skipped and counted.

    Exit status: 0 no finding, 1 an object would be denied, patched or warned about, 2 a manifest cannot be read or
    there is none.
    """
    rules = policy_in(policy)
    stdin = sys.stdin.buffer
    if not paths and stdin.isatty():
        raise click.UsageError("name a file, a folder, or - for standard input")
    with Progress(sys.stderr) as progress:
        report = check(
            find(paths or (STDIN,), exclude),
            rules,
            now=dt.datetime.now(dt.UTC),
            namespace=namespace,
            stdin=stdin,
            step=progress.step,
        )
    documents = fixed_documents(report) if fix else ()
    if not isinstance(documents, InputProblem):
        for document in documents:
            click.echo(document.encode(), nl=False)
    print_report(FORMATTERS, output, report, FormatOptions(verbose=verbose), err=fix)
    if fix:
        _print_fix_notes(report, documents)
    elif output != "text":
        for problem in report.problems:
            click.echo(check_text.problem_line(problem), err=True)
        for warning in report.warnings:
            click.echo(check_text.problem_line(warning, "warning"), err=True)
    sys.exit(2 if isinstance(documents, InputProblem) else report.exit_status)


def _print_fix_notes(report: CheckReport, documents: tuple[str, ...] | InputProblem) -> None:
    """Print to stderr how many documents changed, and which were not evaluated."""
    if isinstance(documents, InputProblem):
        click.echo(check_text.problem_line(documents), err=True)
        return
    for problem in (*report.problems, *report.skipped):
        if problem.document is not None:
            click.echo(check_text.problem_line(problem, "note", "; not evaluated, printed unchanged"), err=True)
    if changed := changed_documents(report):
        whose = "its" if changed == 1 else "their"
        click.echo(f"{counted(changed, 'document')} changed; {whose} comments and layout are lost", err=True)
