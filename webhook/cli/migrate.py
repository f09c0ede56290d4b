"""The `migrate` command: writes what owners change so that nothing uses a legacy Secret any more."""

import datetime as dt
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import click

from webhook.check.checker import check
from webhook.check.input_files import find
from webhook.cli.cluster_scan import ScanRequest, is_given, scan_cluster, scan_policy_options
from webhook.cli.common import FILE, NAMESPACE_GLOB, cluster_options, connected
from webhook.cli.policy_source import PolicyOptions, read_policy_options
from webhook.cluster.workload_reader import WorkloadReader
from webhook.core.formatting import counted, failure_text, plain
from webhook.core.selectors import Globs
from webhook.formatters.check_lines import problem_line
from webhook.formatters.migrate import CHECKLIST
from webhook.migrate.manifests import scan_manifests
from webhook.migrate.output_files import FileState, OutputFile, write_folder
from webhook.migrate.plan import NamespaceMigration, plan_migration
from webhook.migrate.workload_plan import safe_name
from webhook.scan.options import ScanFilters


class _Planned(NamedTuple):
    """The plan, whether everything could be read for it, and which namespaces it covers."""

    namespaces: tuple[NamespaceMigration, ...]
    is_complete: bool
    covers: Callable[[str], bool]


@click.command("migrate")
@click.argument("paths", nargs=-1, type=FILE, metavar="[PATH|-]...")
@click.option("--output-dir", type=click.Path(file_okay=False, path_type=Path), default=Path("migration"),
              metavar="DIR", help="Folder to write to; use one for each cluster. Created if missing.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite files that were edited, or that another program wrote.")
@click.option("-n", "--namespace", "namespaces", multiple=True, type=NAMESPACE_GLOB,
              help="Only this namespace. * matches any characters. May be repeated. With PATH: the namespace of objects"
                   " that name none.")  # fmt: skip
@click.option("--api-audience", "api_audiences", multiple=True, metavar="NAME",
              help="Audience of the API server, for which the new tokens are issued, if the policy names none. Default:"
                   " as for scan.")  # fmt: skip
@scan_policy_options
@cluster_options
def command(
    *,
    paths: tuple[str, ...],
    output_dir: Path,
    force: bool,
    namespaces: tuple[str, ...],
    api_audiences: tuple[str, ...],
    policy: str | None,
    policy_configmap: str,
    own_namespace: str,
    kubeconfig: Path | None,
    context: str | None,
) -> int:
    """Write the changes that replace legacy Secrets.

    For each namespace with legacy Secrets, writes a folder for the owners of its workloads: README.md, a checklist with
    every change, its commands and the Secrets that can be disabled afterwards; a patch for each workload, for kubectl
    and kustomize; and a kustomization with all patches. Changes nothing in the cluster. Without PATH it reads the
    cluster, with the permissions of scan, and only metadata of Secrets. With PATH it reads manifests, among which are
    the Secrets ('tokenguard objects' prints those of a cluster).

    Run it again at any time: it updates its files, and removes those of finished workloads. Ticked boxes stay ticked.
    It keeps files that somebody has edited.

    \b
    Examples:
      tokenguard migrate
      tokenguard migrate --namespace 'team-*' --output-dir production
      tokenguard migrate deploy/ objects.json

    Exit status: 0 nothing refers to a legacy Secret; 1 something does; 2 usage error or failed run, something could not
    be read, or a file was kept that would have changed.
    """
    if paths:
        options = PolicyOptions(
            policy, policy_configmap if is_given("policy_configmap") else None, own_namespace, kubeconfig, context
        )
        planned = _plan_manifests(paths, options, namespaces, api_audiences)
    else:
        request = ScanRequest(
            policy=policy,
            policy_configmap=policy_configmap,
            own_namespace=own_namespace,
            filters=ScanFilters(namespaces),
            api_audiences=api_audiences,
        )
        planned = _plan_cluster(request, kubeconfig, context)
    try:
        files = _write(planned, output_dir, force=force)
    except OSError as error:
        path = error.filename2 or error.filename or output_dir
        raise click.ClickException(f"{path}: {failure_text(error)}") from error
    return _print(planned, files, output_dir)


def _plan_cluster(request: ScanRequest, kubeconfig: Path | None, context: str | None) -> _Planned:
    policies = request.read_policies()
    with connected(kubeconfig, context) as transport:
        report, snapshot, policy = scan_cluster(transport, request, policies)
        reader = WorkloadReader(transport, policy.workloads)
        plan = plan_migration(report, snapshot, policy, reader.read)
    missing = [unread for unread in report.unread if unread.may_name_secrets or unread.affects_decisions]
    for unread in missing:
        click.echo(f"error: {unread.error}", err=True)
    globs = Globs(request.filters.namespaces)
    return _Planned(plan, not missing, globs.match if globs else lambda _: True)


def _plan_manifests(
    paths: tuple[str, ...], options: PolicyOptions, namespaces: tuple[str, ...], api_audiences: tuple[str, ...]
) -> _Planned:
    if len(namespaces) > 1 or any("*" in name for name in namespaces):
        raise click.UsageError("with PATH, --namespace is the one namespace of objects that name none")
    policy, in_use = read_policy_options(options)
    namespace = namespaces[0] if namespaces else "default"
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    checked = check(
        find(paths), policy, now=now, namespace=namespace, own_namespace=options.own_namespace,
        stdin=sys.stdin.buffer, in_use=in_use,
    )  # fmt: skip
    found = scan_manifests(checked, policy, now, namespace, api_audiences)
    problems = [*checked.problems, *found.problems]
    for problem in problems:
        click.echo(problem_line(problem), err=True)
    if not found.report.legacy_secrets:
        hint = "'tokenguard objects' prints those of a cluster, for another PATH"
        raise click.ClickException(f"no legacy Secret among the manifests; {hint}")
    plan = plan_migration(found.report, found.snapshot, policy, found.read)
    covered = {evaluation.namespace for evaluation in checked.evaluations}
    return _Planned(plan, not problems, covered.__contains__)


def _write(planned: _Planned, output_dir: Path, *, force: bool) -> list[OutputFile]:
    """Write the folder of each namespace, and remove what is left of namespaces without legacy Secrets."""
    from webhook.formatters.migrate.files import namespace_files  # noqa: PLC0415 - the template engine takes long

    files: list[OutputFile] = []
    is_complete = planned.is_complete
    for plan in planned.namespaces:
        written = namespace_files(plan, is_complete=is_complete)
        files += write_folder(output_dir / safe_name(plan.namespace), written, force=force, remove=is_complete)
    if is_complete and output_dir.is_dir():
        current = {safe_name(plan.namespace) for plan in planned.namespaces}
        for folder in sorted(output_dir.iterdir()):
            if folder.is_dir() and folder.name not in current and planned.covers(folder.name):
                files += write_folder(folder, {}, force=force)
    return files


def _print(planned: _Planned, files: list[OutputFile], output_dir: Path) -> int:
    """Print what was written and kept, and return the exit status."""
    for plan in planned.namespaces:
        by_hand = sum(_needs_hand(plan))
        parts = [
            counted(len(plan.workloads), "workload"),
            *([counted(len(plan.accounts), "ServiceAccount")] if plan.accounts else []),
            f"{len(plan.patches)} {'patch' if len(plan.patches) == 1 else 'patches'}",
            *([f"{by_hand} not only by a patch"] if by_hand else []),
        ]
        checklist = output_dir / safe_name(plan.namespace) / CHECKLIST
        what = ", ".join(parts) if not plan.is_done else "nothing refers to its legacy Secrets"
        click.echo(f"{plain(plan.namespace)}: {what}: {plain(str(checklist))}")
    if not planned.namespaces:
        click.echo("no legacy Secrets")
    counts = Counter(file.state for file in files)
    shown = (f"{counts[state]} {state}" for state in FileState if counts[state])
    if files:
        click.echo(f"files: {', '.join(shown)}")
    kept = [file.path for file in files if file.state is FileState.KEPT]
    for path in kept:
        message = "kept, because it was edited; compare, or use --force to overwrite it"
        click.echo(f"error: {plain(str(path))}: {message}", err=True)
    if kept or not planned.is_complete:
        return 2
    return int(any(not plan.is_done for plan in planned.namespaces))


def _needs_hand(plan: NamespaceMigration) -> Iterable[bool]:
    """Yield for each workload whether its patch alone does not do."""
    for workload in plan.workloads:
        yield bool(workload.plan.manual or workload.seen or workload.patch is None)
