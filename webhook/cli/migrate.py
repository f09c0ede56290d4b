"""The `migrate` command: writes what owners change so that nothing uses a legacy Secret any more."""

import datetime as dt
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from webhook.check.checker import check
from webhook.check.input_files import find
from webhook.check.report import CheckReport
from webhook.cli.cluster_scan import ScanRequest, is_given, require_matches, scan_cluster, scan_policy_options
from webhook.cli.common import FILE, NAMESPACE_GLOB, cluster_options, connected
from webhook.cli.policy_source import PolicyOptions, read_policy_options
from webhook.cluster.workload_reader import WorkloadReader
from webhook.core.exclusions import SYSTEM_NAMESPACE
from webhook.core.formatting import counted, failure_text, plain
from webhook.core.selectors import Globs
from webhook.formatters.check_lines import problem_line
from webhook.formatters.migrate import CHECKLIST
from webhook.formatters.migrate.summary import changes_text
from webhook.formatters.scan_findings import first_names
from webhook.migrate.manifests import scan_manifests, unplaced
from webhook.migrate.output_files import (
    INDEX_OWNER,
    FileState,
    OutputFile,
    is_generated_file,
    namespace_owner,
    write_folder,
)
from webhook.migrate.plan import Migration, plan_migration
from webhook.migrate.workload_plan import safe_name
from webhook.scan.options import ScanFilters, ScanOptions

_MANIFESTS = "manifests"


class _Planned(NamedTuple):
    """The plan, and which namespaces it covers."""

    migration: Migration
    covers: Callable[[str], bool]


@click.command("migrate")
@click.argument("paths", nargs=-1, type=FILE, metavar="[PATH|-]...")
@click.option("--output-dir", type=click.Path(file_okay=False, path_type=Path), default=Path("migration"),
              metavar="DIR", help="Folder to write to; use one for each cluster. Created if missing.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite files that were edited, or that another program wrote.")
@click.option("-n", "--namespace", "namespaces", multiple=True, type=NAMESPACE_GLOB,
              help="Only this namespace. * matches any characters. May be repeated. Objects in PATH that name no"
                   " namespace belong to it, as for kubectl apply.")  # fmt: skip
@click.option("--api-audience", "api_audiences", multiple=True, metavar="NAME",
              help="Audience of the API server, if the policy names none. The new tokens are issued for it. Default: as"
                   " for scan.")  # fmt: skip
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

    For each namespace with legacy Secrets, writes a folder for the owners of its workloads: a checklist (README.md)
    with every change, its commands and the Secrets that can be disabled afterwards; a patch for each workload, for
    kubectl and kustomize; and a kustomization with all patches. The README.md above these folders says who gets which
    folder. Changes nothing in the cluster.

    Without PATH it reads the cluster, with the permissions of scan, and only metadata of Secrets. With PATH it reads
    manifests, and writes plans for the namespaces of their workloads; it does not know what else runs in
    these namespaces. The manifests must include the legacy Secrets ('tokenguard objects' prints the legacy Secrets of a
    cluster).

    Run it again at any time: it updates its files, and removes the files of finished workloads. It keeps ticked boxes,
    and files that somebody has edited.

    \b
    Examples:
      tokenguard migrate
      tokenguard migrate --namespace 'team-*' --output-dir production
      kubectl kustomize overlays/shop | tokenguard migrate --namespace shop - objects.json

    Exit status: 0 nothing refers to a legacy Secret; 1 something does; 2 usage error or failed run, something could not
    be read, or an edited file was kept although it should change.
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
    if any(unread.is_of_legacy_secrets for unread in missing):
        raise click.ClickException("nothing was written: without the legacy Secrets there is no plan")
    globs = Globs(request.filters.namespaces)
    return _Planned(Migration(plan, not missing), globs.match if globs else lambda _: True)


def _plan_manifests(
    paths: tuple[str, ...], options: PolicyOptions, namespaces: tuple[str, ...], api_audiences: tuple[str, ...]
) -> _Planned:
    policy, in_use = read_policy_options(options)
    one = namespaces[0] if len(namespaces) == 1 and "*" not in namespaces[0] else None
    namespace = one or "default"
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    checked = check(
        find(paths), policy, now=now, namespace=namespace, own_namespace=options.own_namespace,
        stdin=sys.stdin.buffer, in_use=in_use,
    )  # fmt: skip
    scan_options = ScanOptions(policy, _MANIFESTS, now, _MANIFESTS, filters=ScanFilters(namespaces))
    if one is None:
        _require_namespaces(checked)
    scanned = scan_manifests(checked, scan_options, namespace, api_audiences)
    problems = [*checked.problems, *scanned.problems]
    for problem in problems:
        click.echo(problem_line(problem), err=True)
    if SYSTEM_NAMESPACE in scanned.snapshot.namespaces:  # the Namespaces are all that a cluster has
        require_matches(namespaces, scanned.snapshot.namespaces)
    if not scanned.snapshot.secrets:
        hint = "'tokenguard objects' prints those of a cluster, for another PATH"
        raise click.ClickException(f"no legacy Secret among the manifests; {hint}")
    plan = plan_migration(scanned.report, scanned.snapshot, policy, scanned.read)
    covered = {workload.namespace for workload in scanned.report.workloads}
    if not covered and all(namespace.is_done for namespace in plan):
        where = " in the namespaces of --namespace" if namespaces else ""
        hint = "pass the workloads that may use the legacy Secrets, too"
        raise click.ClickException(f"no workload among the manifests{where}; {hint}")
    is_covered = {part.namespace: bool(part.scanned or part.accounts) for part in plan}
    planned, not_covered = (
        tuple(part for part in plan if is_covered[part.namespace] is wanted) for wanted in (True, False)
    )
    migration = Migration(planned, not problems, from_manifests=True, not_covered=not_covered)
    return _Planned(migration, covered.__contains__)


def _require_namespaces(checked: CheckReport) -> None:
    """Fail if an object names no namespace: its Secrets would be looked for in another one."""
    objects = unplaced(checked)
    if not objects:
        return
    first = f"{plain(objects[0].title)} ({plain(objects[0].file)}:{objects[0].manifest.line})"
    count = f"{counted(len(objects), 'object')} {'name' if len(objects) > 1 else 'names'} no namespace"
    raise click.ClickException(
        f"{count}: {first}{' and others' if len(objects) > 1 else ''}; name the one they are deployed to:"
        " --namespace NAMESPACE, once and without *"
    )


def _write(planned: _Planned, output_dir: Path, *, force: bool) -> list[OutputFile]:
    """Write the folders and the index, and remove what is left of namespaces without legacy Secrets."""
    from webhook.formatters.migrate import files as contents  # noqa: PLC0415 - the template engine takes long

    migration = planned.migration
    is_complete = migration.is_complete
    files: list[OutputFile] = []
    for plan in migration.namespaces:
        written = contents.namespace_files(plan, migration)
        name = safe_name(plan.namespace)
        files += write_folder(output_dir / name, namespace_owner(name), written, force=force, remove=is_complete)
    current = {safe_name(plan.namespace) for plan in migration.namespaces}
    others: list[str] = []
    for folder in sorted(output_dir.iterdir()) if output_dir.is_dir() else ():
        if folder.name not in current and folder.is_dir():
            owner = namespace_owner(folder.name)
            if is_complete and planned.covers(folder.name):
                files += write_folder(folder, owner, {}, force=force)
            elif is_generated_file(folder / CHECKLIST, owner):
                others.append(folder.name)
    if migration.namespaces or others:
        index = {CHECKLIST: contents.index(migration, others)}
        files += write_folder(output_dir, INDEX_OWNER, index, force=force, remove=False)
    elif is_complete:
        files += write_folder(output_dir, INDEX_OWNER, {}, force=force)
    return files


def _print(planned: _Planned, files: list[OutputFile], output_dir: Path) -> int:
    """Print what was written and kept, and return the exit status."""
    migration = planned.migration
    for plan in migration.namespaces:
        checklist = output_dir / safe_name(plan.namespace) / CHECKLIST
        click.echo(f"{plain(plan.namespace)}: {changes_text(plan, migration)}: {plain(str(checklist))}")
    if migration.not_covered:
        count = counted(sum(len(plan.secrets) for plan in migration.not_covered), "legacy Secret")
        names = first_names(plan.namespace for plan in migration.not_covered)
        click.echo(f"not planned: {count} in {names}, because no workload of these namespaces is among the manifests")
    elif not migration.namespaces:
        click.echo("no legacy Secrets")
    counts = Counter(file.state for file in files)
    shown = (f"{counts[state]} {state}" for state in FileState if counts[state])
    if files:
        start = f"; start with {plain(str(output_dir / CHECKLIST))}" if migration.namespaces else ""
        click.echo(f"files: {', '.join(shown)}{start}")
    edited = [file.path for file in files if file.state is FileState.KEPT]
    for path in edited:
        message = "kept: edited, or of another program or migration; compare, or overwrite it with --force"
        click.echo(f"error: {plain(str(path))}: {message}", err=True)
    if edited or not migration.is_complete:
        return 2
    return int(any(not plan.is_done for plan in migration.namespaces))
