"""The `check` command: evaluates manifests in files by a policy."""

import datetime as dt
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from webhook.check import fix
from webhook.check.checker import CheckReport, check
from webhook.check.input_files import STDIN, InputProblem, find
from webhook.commands import policy_in
from webhook.core.policy.model import Policy
from webhook.core.safe_output import safe_json
from webhook.formatters import check_json, check_sarif, check_text
from webhook.formatters.progress import Progress

OUTPUTS = ("text", "json", "sarif")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What `check` was asked for. `policy` is the path of a policy's file, None for the default policy."""

    paths: tuple[str, ...] = ()
    policy: str | None = None
    output: str = "text"
    fix: bool = False
    exclude: tuple[str, ...] = ()
    namespace: str = "default"
    verbose: bool = False


def _option(*names: str, help: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: A002 - click's own word
    variable = "TOKENGUARD_" + max(names, key=len).lstrip("-").upper()
    return click.option(*names, help=help, envvar=variable, show_envvar=True, **settings)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.argument("paths", nargs=-1, metavar="[PATH|-]..."),
    _option(
        "--policy", metavar="FILE", help="Policy document, or ConfigMap that holds one, in place of the default policy."
    ),
    _option("--output", type=click.Choice(OUTPUTS), default="text", show_default=True, help="How findings are told."),
    _option(
        "--fix",
        is_flag=True,
        help="Print the manifests as the webhook would leave them, as YAML; findings go to stderr. Documents that are "
        "changed lose their comments and layout, all others stay as they were written, those that can't be read, too.",
    ),
    _option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        help="Leave out files and folders in the given folders, as a line of .gitignore does: a name at any depth, or, "
        "with a slash, a path from the folder that is given; ** stands for any number of folders. May be repeated.",
    ),
    _option(
        "-n",
        "--namespace",
        metavar="NAME",
        default="default",
        show_default=True,
        help="Namespace of objects that name none.",
    ),
    _option(
        "-v",
        "--verbose",
        is_flag=True,
        help="Tell also what only the audit log would hear of, what is exempt, and what was skipped.",
    ),
)


def _check_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("check")
@_check_options
def check_command(**flags: Any) -> None:
    """Judge manifests offline, as the webhook would judge them: files, folders, or - for standard input.

    The Secrets, Namespaces and ServiceAccounts among them are the cluster that they are judged by. Exit status: 0
    nothing was found, 1 something would be denied, patched or warned of, 2 a manifest could not be read, or there is
    none. In a folder, files that are no manifests and unrendered templates are skipped and counted.
    """
    options = CheckOptions(**flags)
    sys.exit(run(options, policy_in(options.policy), dt.datetime.now(dt.UTC)))


def run(options: CheckOptions, policy: Policy, now: dt.datetime) -> int:
    """Judge what the options name by the policy at the time `now` (aware), tell of it, and return the exit status."""
    stdin = sys.stdin.buffer
    if not options.paths and stdin.isatty():
        raise click.UsageError("give a file, a folder, or - for standard input")
    with Progress(sys.stderr) as progress:
        report = check(
            find(options.paths or (STDIN,), options.exclude),
            policy,
            now=now,
            namespace=options.namespace,
            stdin=stdin,
            step=progress.step,
        )
    written = fix.documents(report) if options.fix else ()
    if not isinstance(written, InputProblem):
        for document in written:
            click.echo(document.encode(), nl=False)
    _tell(report, options)
    if options.fix:
        _tell_what_was_fixed(report, written)
    return 2 if isinstance(written, InputProblem) else report.exit_status


def _tell_what_was_fixed(report: CheckReport, written: tuple[str, ...] | InputProblem) -> None:
    """Say on stderr which of the manifests on stdout are new, and which nobody looked at."""
    if isinstance(written, InputProblem):
        click.echo(check_text.problem_line(written), err=True)
        return
    for problem in (*report.problems, *report.skipped):
        if problem.document is not None:
            click.echo(check_text.problem_line(problem, "note", "; not looked at, given back as it was"), err=True)
    if changed := fix.changed(report):
        documents = "1 document" if changed == 1 else f"{changed} documents"
        click.echo(f"{documents} changed; comments and layout are lost there", err=True)


def _tell(report: CheckReport, options: CheckOptions) -> None:
    """Write the report to stdout, or to stderr where stdout is taken by the manifests."""
    if options.output == "text":
        stream = sys.stderr if options.fix else sys.stdout
        colour = stream.isatty() and not os.environ.get("NO_COLOR")
        for line in check_text.lines(report, verbose=options.verbose, colour=colour):
            click.echo(line, err=options.fix)
        return
    write = check_json.text if options.output == "json" else check_sarif.text
    click.echo(safe_json(write(report, verbose=options.verbose)).encode(), err=options.fix)
    if not options.fix:
        for problem in report.problems:
            click.echo(check_text.problem_line(problem), err=True)
        for warning in report.warnings:
            click.echo(check_text.problem_line(warning, "warning"), err=True)
