"""The `check` command: evaluates manifests in files."""

import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from webhook.check.checker import check
from webhook.check.fix import FixedDocuments, FixedFile, changed_documents, fixed_documents, fixed_files
from webhook.check.fixed_files import diff_lines, write_file
from webhook.check.input_files import STDIN, InputProblem, displayed, find
from webhook.check.report import OUTCOMES, CheckReport
from webhook.cli.common import FILE, Choice, output_option, own_namespace_option
from webhook.cli.policy_source import PolicyOptions, mode_option, policy_options, read_policy_options
from webhook.core.formatting import counted, plain
from webhook.core.policy.model import Action
from webhook.formatters import check_concise, check_github, check_json, check_junit, check_sarif, check_text
from webhook.formatters.check_lines import problem_line
from webhook.formatters.formatter import LINE_FORMATS, FormatOptions, Formatter, print_report
from webhook.formatters.progress import Progress

MAX_FINDINGS = 50
FORMATTERS: Mapping[str, Formatter[CheckReport]] = {
    "text": check_text.format_report,
    "concise": check_concise.format_report,
    "json": check_json.format_report,
    "sarif": check_sarif.format_report,
    "junit": check_junit.format_report,
    "github": check_github.format_report,
}


@click.command("check", context_settings={"auto_envvar_prefix": "TOKENGUARD"})
@click.argument("paths", nargs=-1, type=FILE, metavar="[PATH|-]...")
@policy_options
@mode_option
@output_option(FORMATTERS)
@click.option("--fail-on", type=Choice([action.value for action in OUTCOMES]), default=Action.WARN.value,
              help="Exit with 1 only for findings with this action or a stronger one.")  # fmt: skip
@click.option("--fix", is_flag=True,
              help="Print the manifests as the webhook would patch them; findings go to stderr. Comments and layout"
                   " stay; a JSON file stays JSON, several files are one stream of YAML.")  # fmt: skip
@click.option("--write", is_flag=True, help="With --fix: change the files instead of printing them.")
@click.option("--diff", is_flag=True, help="Print what --fix would change, as a unified diff; findings go to stderr.")
@click.option("--stdin-filename", metavar="FILE", default=STDIN, show_default=False,
              help="Name of standard input in the output, such as the chart's folder.")  # fmt: skip
@click.option("--exclude", multiple=True, metavar="GLOB",
              help="Skip files and folders, as a line of .gitignore does: a name at any depth or, with a slash, a path"
                   " below a given folder; ** matches any number of folders. May be repeated.")  # fmt: skip
@click.option("--force-exclude", is_flag=True,
              help="Apply --exclude and .tokenguardignore also to files that are named, for pre-commit.")  # fmt: skip
@click.option("--max-findings", type=click.IntRange(min=0), default=MAX_FINDINGS, metavar="NUMBER",
              help="Findings that text output shows, the strongest; the summary counts all. 0: all.")  # fmt: skip
@click.option("-n", "--namespace", metavar="NAME", default="default",
              help="Namespace of objects without metadata.namespace.")  # fmt: skip
@own_namespace_option
@click.option("-v", "--verbose", is_flag=True,
              help="Also show findings with action audit, exempt and skipped objects, injections.")  # fmt: skip
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
    write: bool,
    diff: bool,
    stdin_filename: str,
    exclude: tuple[str, ...],
    force_exclude: bool,
    max_findings: int,
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
      tokenguard check --fix --write deploy/

    Every option has an environment variable: TOKENGUARD_ and its name, like TOKENGUARD_OUTPUT or TOKENGUARD_FAIL_ON.

    Exit status: 0 no finding; 1 an object would be denied, patched or warned about; 2 a manifest cannot be read, or
    there is none.
    """
    if write and not fix:
        raise click.UsageError("--write needs --fix")
    if diff and fix:
        raise click.UsageError("--diff and --fix exclude each other")
    stdin = sys.stdin.buffer
    if not paths and stdin.isatty():
        raise click.UsageError("no input; name a file, a folder, or - for standard input")
    if write and STDIN in (paths or (STDIN,)):
        raise click.UsageError("--write needs files and folders, not standard input")
    options = PolicyOptions(policy, policy_configmap, own_namespace, kubeconfig, context)
    with Progress(sys.stderr) as progress:
        loaded_policy, in_use = read_policy_options(options, mode)
        report = check(
            find(paths or (STDIN,), exclude, stdin_filename, excludes_named=force_exclude),
            loaded_policy,
            now=dt.datetime.now(dt.UTC),
            namespace=namespace,
            own_namespace=own_namespace,
            stdin=stdin,
            in_use=in_use,
            step=progress.step,
        )
    report.fail_on = Action(fail_on)
    shown = FormatOptions(verbose=verbose, rows=max_findings)
    if write or diff:
        files = list(fixed_files(report))
        print_report(FORMATTERS, output, report, shown, err=diff)
        _print_problems(report, output, err=diff)
        return (_write if write else _print_diff)(report, files)
    documents = fixed_documents(report) if fix else None
    if isinstance(documents, FixedDocuments):
        for document in documents.pieces:
            click.echo(document.encode(), nl=False)
    print_report(FORMATTERS, output, report, shown, err=fix)
    if documents is not None:
        _print_fix_notes(report, documents)
    else:
        _print_problems(report, output, err=False)
    return 2 if isinstance(documents, InputProblem) else report.exit_status


def _print_problems(report: CheckReport, output: str, *, err: bool) -> None:
    """Print to stderr what could not be read and the warnings, unless the output already has them there."""
    if err or output in LINE_FORMATS:
        return
    for problem in report.problems:
        click.echo(problem_line(problem), err=True)
    for warning in report.warnings:
        click.echo(problem_line(warning, "warning"), err=True)


def _print_fix_notes(report: CheckReport, documents: FixedDocuments | InputProblem) -> None:
    """Print to stderr how many documents changed, and which were not evaluated."""
    if isinstance(documents, InputProblem):
        click.echo(problem_line(documents), err=True)
        return
    others = (found.problem for found in report.not_evaluated if not found.kind)
    for problem in (*report.problems, *others):
        if problem.document is not None:
            click.echo(problem_line(problem, "note", "; not evaluated, printed unchanged"), err=True)
    if changed := changed_documents(report):
        click.echo(f"{counted(changed, 'document')} changed{_losses(documents.rewritten)}", err=True)


def _print_diff(report: CheckReport, files: list[FixedFile | InputProblem]) -> int:
    """Print the changes of the files, and return the exit status: 1 if there are any, or findings."""
    for file in files:
        if isinstance(file, InputProblem):
            click.echo(problem_line(file), err=True)
            continue
        click.echo("".join(diff_lines(displayed(file.path), file.before, file.after)).encode(), nl=False)
    failed = any(isinstance(file, InputProblem) for file in files)
    return 2 if failed else report.exit_status or int(bool(files))


def _write(report: CheckReport, files: list[FixedFile | InputProblem]) -> int:
    """Write the files, and return the exit status: 1 only if findings are left that no patch repairs."""
    failed = False
    for file in files:
        problem = file if isinstance(file, InputProblem) else write_file(file)
        if isinstance(file, FixedFile) and problem is None:
            changed = f"{counted(file.changed, 'document')} changed{_losses(file.rewritten)}"
            click.echo(f"{plain(displayed(file.path))}: fixed: {changed}", err=True)
        elif problem is not None:
            failed = True
            click.echo(problem_line(problem), err=True)
    if failed or report.problems:
        return 2
    return int(any(report.fails(finding) for finding in report.findings if finding.action is not Action.PATCH))


def _losses(rewritten: int) -> str:
    return f"; comments and layout of {counted(rewritten, 'document')} are lost" if rewritten else ""
