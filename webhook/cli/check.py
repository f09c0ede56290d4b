"""The `check` command: evaluates manifests in files."""

import datetime as dt
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from webhook.check.checker import check
from webhook.check.cluster_objects import read_cluster_objects
from webhook.check.fix import FixedDocuments, FixedFile, add_obstacles, changed_documents, fixed_documents, fixed_files
from webhook.check.fixed_files import diff_lines, write_file
from webhook.check.input_files import STDIN, InputProblem, displayed, find
from webhook.check.report import OUTCOMES, CheckReport
from webhook.cli.common import (
    FILE,
    NAMESPACE,
    Choice,
    input_error,
    output_option,
    own_namespace_option,
    read_input,
    require_input,
    schema_option,
)
from webhook.cli.policy_source import PolicyOptions, mode_option, policy_options, read_policy_options
from webhook.core.formatting import counted, plain
from webhook.core.manifests import Manifest
from webhook.core.policy.model import Action
from webhook.formatters import check_concise, check_github, check_json, check_junit, check_sarif, check_text
from webhook.formatters.check_lines import problem_lines
from webhook.formatters.check_summary import notices, patched_without_finding, unpatched_because_of_mode
from webhook.formatters.diff import coloured
from webhook.formatters.formatter import (
    DEFAULT_OPTIONS,
    LINE_FORMATS,
    WITH_PROBLEMS,
    FormatOptions,
    Formatter,
    on_stream,
    print_report,
    uses_colour,
)
from webhook.formatters.progress import Progress
from webhook.formatters.wrapping import wrapped

MAX_FINDINGS = 50
_CORRECT_FIRST = "correct the errors first"
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
              help="Exit with 1 only for findings with this action or a stricter one. Does not apply to lines with"
                   " 'warning:': see --strict.")  # fmt: skip
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 also for warnings. These are lines with 'warning:', about what cannot be evaluated or may"
    " be a mistake; a finding whose outcome is 'warned' is not one of them.",
)
@click.option("--fix", is_flag=True,
              help="Print the Kubernetes objects as the webhook would patch them; findings go to stderr. Comments and"
                   " layout are kept. A JSON file stays JSON; several files become one stream of YAML.")  # fmt: skip
@click.option("--write", is_flag=True, help="With --fix: change the files instead of printing them.")
@click.option("--diff", is_flag=True, help="Print what --fix would change, as a unified diff, instead of the findings.")
@click.option("--stdin-filename", metavar="FILE", default=STDIN, show_default=False,
              help="Name of standard input in the output, such as the chart's folder.")  # fmt: skip
@click.option("--exclude", multiple=True, metavar="GLOB",
              help="Skip files and folders. Works like a line of .gitignore: a name matches at any depth; a path with"
                   " a slash matches below a given folder; ** matches any number of folders; ! includes again."
                   " May be repeated; the last glob that matches decides.")  # fmt: skip
@click.option("--force-exclude", is_flag=True,
              help="Also apply --exclude and .tokenguardignore to files named on the command line. For"
                   " hooks of pre-commit that pass file names.")  # fmt: skip
@click.option("--objects", multiple=True, metavar="FILE", type=FILE,
              help="Secrets, Namespaces and ServiceAccounts of the cluster, for example the output of 'tokenguard"
                   " objects'. They are used as the state of the cluster, but not evaluated. May be"
                   " repeated.")  # fmt: skip
@click.option("--max-findings", type=click.IntRange(min=0), default=MAX_FINDINGS, metavar="NUMBER",
              help="Maximum number of findings in text output, the most severe first; the summary counts all. 0:"
                   " no limit.")  # fmt: skip
@click.option("-n", "--namespace", type=NAMESPACE, default="default",
              help="Namespace of objects without metadata.namespace.")  # fmt: skip
@own_namespace_option
@click.option("-v", "--verbose", is_flag=True,
              help="Also show findings with the action audit, patches without a finding, and exempt and skipped"
                   " objects.")  # fmt: skip
@schema_option(check_json.schema)
@click.option("-q", "--quiet", is_flag=True,
              help="Print errors and findings only, without warnings and summary.")  # fmt: skip
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
    strict: bool,
    fix: bool,
    write: bool,
    diff: bool,
    stdin_filename: str,
    exclude: tuple[str, ...],
    force_exclude: bool,
    objects: tuple[str, ...],
    max_findings: int,
    namespace: str,
    own_namespace: str,
    verbose: bool,
    quiet: bool,
) -> int:
    """Evaluate manifests offline.

    PATH is a file, a folder, or - for standard input (default). Secrets, Namespaces and ServiceAccounts among the
    manifests and in --objects are used as the state of the cluster. In folders, unrendered templates and files that are
    not manifests are skipped and counted.

    \b
    Examples:
      tokenguard check deploy/
      helm template chart/ | tokenguard check -
      tokenguard check --policy policy.yaml --output sarif deploy/ > results.sarif
      tokenguard check --fix --write deploy/
      tokenguard objects | tokenguard check --objects - deploy/

    Every option has an environment variable: TOKENGUARD_ and its name, like TOKENGUARD_OUTPUT or TOKENGUARD_FAIL_ON.

    Exit status: 0 no finding that --fail-on selects; 1 such a finding (an object would be denied, patched or warned
    about), a value of a wrong type, or with --strict a warning; 2 a document is not YAML or JSON, its kind or version
    is missing or misspelt, a file cannot be read or changed, or no manifest was found.
    """
    _validate_options(paths, fix=fix, write=write, diff=diff, verbose=verbose, quiet=quiet)
    paths = paths or (STDIN,)
    if (*paths, *objects).count(STDIN) > 1 and STDIN in objects:
        raise click.UsageError("--objects - reads standard input, so PATH must be a file or folder")
    hint = _fix_hint(paths, fix=fix, diff=diff)
    options = PolicyOptions(policy, policy_configmap, own_namespace, kubeconfig, context)

    def evaluate() -> tuple[CheckReport, list[FixedFile | InputProblem]]:
        with Progress(sys.stderr) as progress:
            unused: list[InputProblem] = []
            report = check(
                find(paths, exclude, stdin_filename, excludes_named=force_exclude, warn=unused.append),
                loaded_policy,
                now=dt.datetime.now(dt.UTC),
                namespace=namespace,
                own_namespace=own_namespace,
                cluster_objects=cluster_objects,
                stdin=sys.stdin.buffer,
                in_use=in_use,
                step=progress.step,
            )
        known = {(warning.path, warning.line, warning.message) for warning in policy_warnings}
        others = [each for each in report.warnings if (each.path, each.line, each.message) not in known]
        report.warnings = [*policy_warnings, *others, *unused]
        report.fail_on, report.strict, report.fix_hint = Action(fail_on), strict, hint
        files = list(fixed_files(report))
        add_obstacles(report, files)
        return report, files

    cluster_objects = _read_objects(objects)
    policy_warnings: list[InputProblem] = []
    with Progress(sys.stderr) as progress:
        progress.step("reading the policy")
        loaded_policy, in_use = read_policy_options(options, mode, policy_warnings.append)
    report, files = evaluate()
    shown = FormatOptions(verbose=verbose, quiet=quiet, rows=max_findings)
    if diff:
        return _print_diff(report, files, output, shown)
    if write:
        is_written = _write(files, quiet=quiet)
        before, (report, left) = report, evaluate()
        _add_unfixed(report, left)
        report.fixed = before.fixable - report.fixable
        report.fix_hint = hint if is_written else _CORRECT_FIRST
        print_report(FORMATTERS, output, report, shown)
        _print_problems(report, output, quiet=quiet)
        _print_mode_note(report, quiet=quiet)
        return report.exit_status if is_written else 2
    documents = fixed_documents(report) if fix else None
    if isinstance(documents, InputProblem):
        report.fix_hint = _CORRECT_FIRST
    elif documents:
        _add_unfixed(report, files)
        for document in documents.pieces:
            click.echo(document.encode(), nl=False)
    print_report(FORMATTERS, output, report, shown, err=fix)
    if documents is None:
        _print_problems(report, output, quiet=quiet)
    elif not quiet or isinstance(documents, InputProblem):
        _print_fix_notes(report, documents, output)
    return 2 if isinstance(documents, InputProblem) else report.exit_status


def _validate_options(
    paths: tuple[str, ...], *, fix: bool, write: bool, diff: bool, verbose: bool, quiet: bool
) -> None:
    """Raise `click.UsageError` for options that exclude or need each other."""
    if write and not fix:
        raise click.UsageError("--write needs --fix")
    if diff and fix:
        raise click.UsageError("--diff and --fix exclude each other")
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet exclude each other")
    require_input(paths)
    if write and STDIN in (paths or (STDIN,)):
        raise click.UsageError("--write needs files and folders, not standard input")


def _read_objects(files: Iterable[str]) -> list[Manifest] | None:
    """Return the objects in the files of --objects, None without the option. Raises `InputError`."""
    found: list[Manifest] = []
    problems: list[InputProblem] = []
    for path in files:
        manifests, mistakes = read_cluster_objects(read_input(path))
        found += manifests
        problems += (
            InputProblem(path, each.message, each.line, each.document, each.column or None) for each in mistakes
        )
    if problems:
        raise input_error(problems)
    return found if files else None


def _fix_hint(paths: tuple[str, ...], *, fix: bool, diff: bool) -> str:
    """Return which options repair what a patch can repair, without those that are given."""
    repair = "--fix prints the repaired manifests" if STDIN in paths else "--fix --write does it"
    if fix:
        return "the printed manifests have the changes"
    return repair if diff else f"--diff shows how, {repair}"


def _print_problems(report: CheckReport, output: str, *, quiet: bool) -> None:
    """Print to stderr what could not be read, the warnings and notices, unless the output has them for people."""
    if output in WITH_PROBLEMS:
        return
    _print_lines(report.problems)
    _print_lines(report.shown_warnings(quiet=quiet), "warning")
    if not quiet:
        _print_texts(f"note: {line}" for line in notices(report))


def _print_lines(problems: Iterable[InputProblem], word: str = "error", suffix: str = "") -> None:
    options = on_stream(DEFAULT_OPTIONS, sys.stderr)
    for problem in problems:
        for line in problem_lines(problem, options, word, suffix):
            click.echo(line, err=True, color=options.colour)


def _print_texts(texts: Iterable[str]) -> None:
    """Print sentences to stderr, wrapped on a terminal."""
    for text in texts:
        for line in wrapped(text, on_stream(DEFAULT_OPTIONS, sys.stderr).width, 4):
            click.echo(line, err=True)


def _print_fix_notes(report: CheckReport, documents: FixedDocuments | InputProblem, output: str) -> None:
    """Print to stderr how many documents changed, which were not evaluated, and warnings that the output lacks."""
    if isinstance(documents, InputProblem):
        _print_lines([documents])
        return
    unread = (problem for problem in report.problems if problem.document is not None)
    _print_lines(unread, "note", "; not evaluated, printed unchanged")
    if documents.left_out:
        _print_texts([f"note: {counted(documents.left_out, 'document')} left out: not Kubernetes objects; see -v"])
    if output not in WITH_PROBLEMS:
        _print_lines(report.warnings, "warning")
    _print_mode_note(report, quiet=False)
    if changed := changed_documents(report) - documents.unfixed:
        click.echo(f"{counted(changed, 'document')} changed", err=True)


def _print_mode_note(report: CheckReport, *, quiet: bool) -> None:
    """Print to stderr why patches are left out because of the mode."""
    if not quiet and (reason := unpatched_because_of_mode(report)):
        _print_texts([f"note: {reason}"])


def _print_diff(
    report: CheckReport, files: Sequence[FixedFile | InputProblem], output: str, options: FormatOptions
) -> int:
    """Print the changes of the files, and return the exit status, which follows --fail-on.

    Formats for people get one line about the findings instead of all of them.
    """
    _add_unfixed(report, files)
    if output not in LINE_FORMATS:
        print_report(FORMATTERS, output, report, options, err=True)
    else:
        _print_lines(report.problems)
        _print_lines(report.shown_warnings(quiet=options.quiet), "warning")
    for file in files:
        if isinstance(file, FixedFile) and file.changed:
            _print_changes(file)
    _print_lines(file for file in files if isinstance(file, InputProblem))
    if output in LINE_FORMATS and not options.quiet:
        shown = "; the check without --diff shows them" if report.findings else ""
        counts = f"{counted(report.fixable, 'finding')} to fix, {report.left_to_authors} to correct by hand{shown}"
        _print_texts(filter(None, (counts, patched_without_finding(report), unpatched_because_of_mode(report))))
    failed = any(isinstance(file, InputProblem) for file in files)
    return 2 if failed else report.exit_status


def _print_changes(file: FixedFile) -> None:
    """Print what changes in a file, in colours on a terminal; elsewhere byte for byte, so that it can be applied."""
    lines = diff_lines(displayed(file.path), file.before, file.after)
    if uses_colour(sys.stdout):
        click.echo("".join(coloured(lines)), nl=False, color=True)
    else:
        click.echo("".join(lines).encode(), nl=False)


def _write(files: Iterable[FixedFile | InputProblem], *, quiet: bool) -> bool:
    """Write the files that change, and return whether all could be written."""
    written = True
    for file in files:
        problem = file if isinstance(file, InputProblem) else write_file(file) if file.changed else None
        if problem is not None:
            written = False
            _print_lines([problem])
        elif isinstance(file, FixedFile) and file.changed and not quiet:
            changed = counted(file.changed, "document")
            click.echo(f"{plain(displayed(file.path))}: fixed: {changed} changed", err=True)
    return written


def _add_unfixed(report: CheckReport, files: Iterable[FixedFile | InputProblem]) -> None:
    """Add a warning about each document that cannot be changed."""
    report.warnings += (
        each.problem(file.path) for file in files if isinstance(file, FixedFile) for each in file.unfixed
    )
