"""The `legacy` commands that change Secrets: each makes a plan, asks, and carries it out."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.cli.cluster_scan import is_given, scan_policy_options
from webhook.cli.common import NAMESPACE_GLOB, Parsed, cluster_options, connected, output_option, schema_option
from webhook.cli.kept_manifests import KeptManifests
from webhook.cli.legacy_report import (
    read_report,
    refused_use_options,
    refused_uses,
    scan_request,
    unused_days_option,
)
from webhook.cluster.legacy_writer import LegacyWriter, own_username
from webhook.cluster.transport import ApiError
from webhook.core.formatting import counted, plain, quote
from webhook.core.k8s_names import is_dns_label, is_dns_subdomain
from webhook.core.selectors import Accounts, Globs
from webhook.formatters import legacy_json, legacy_plan
from webhook.formatters.formatter import print_report
from webhook.legacy.plan import WAVE, ChangeResult, Command, ExecutedPlan, Plan, Selection, make_plan
from webhook.legacy.record import Author, disabled_lately
from webhook.legacy.retirable import AFTER_DAYS
from webhook.scan.options import UNUSED_DAYS

F = TypeVar("F", bound=Callable[..., Any])
_MAX_REASON = 500
_PAST = {Command.DISABLE: "disabled", Command.RESTORE: "restored", Command.DELETE: "deleted"}
_KEPT = Path("retired-secrets")


def _secret_name(value: str) -> str:
    namespace, separator, name = value.partition("/")
    if not (separator and is_dns_label(namespace) and is_dns_subdomain(name)):
        raise ValueError(f"{quote(value)} is not NAMESPACE/NAME of a Secret")
    return value


def _reason(value: str) -> str:
    if not value.strip() or len(value) > _MAX_REASON or not value.isprintable():
        raise ValueError(f"a reason is one line of 1 to {_MAX_REASON} printable characters")
    return value


_SECRET = Parsed("NAMESPACE/NAME", _secret_name)
_REASON = Parsed("TEXT", _reason)


@dataclass(frozen=True, kw_only=True)
class ChangeOptions:
    """The values of the options that all three commands have."""

    names: tuple[str, ...]
    forced: tuple[str, ...]
    namespaces: tuple[str, ...]
    accounts: tuple[str, ...]
    max_count: int | None
    yes: bool
    dry_run: bool
    output: str
    policy: str | None
    policy_configmap: str
    own_namespace: str
    kubeconfig: Path | None
    context: str | None
    unused_days: int = UNUSED_DAYS
    after_days: int = AFTER_DAYS
    audit_logs: tuple[str, ...] = ()

    def selection(self, **more: Any) -> Selection:
        """Return what the options select, with `more` members. Raises `click.UsageError` if that is nothing."""
        selection = Selection(
            names=frozenset(self.names),
            forced=frozenset(self.forced),
            namespaces=Globs(self.namespaces),
            accounts=Accounts(self.accounts),
            max_count=self.max_count,
            **more,
        )
        if not (selection.named or selection.has_criteria):
            raise click.UsageError("name Secrets as NAMESPACE/NAME, or select them, for example with --namespace '*'")
        return selection

    def scanned_namespaces(self, selection: Selection) -> tuple[str, ...]:
        """Return the namespaces to read; none for all."""
        named = {name.partition("/")[0] for name in selection.named}
        if selection.has_criteria and not self.namespaces:
            return ()
        return tuple(dict.fromkeys((*self.namespaces, *sorted(named))))


def _change_options(command: F) -> F:
    """Add the options of `ChangeOptions` and the names as arguments."""
    for option in (
        schema_option(legacy_json.plan_schema),
        output_option(["text", "json"]),
        cluster_options,
        scan_policy_options,
        click.option("--dry-run", is_flag=True, help="Show the plan and change nothing."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask before the change."),
        click.option("--force", "forced", multiple=True, type=_SECRET,
                     help="Also change this Secret, even if the plan would refuse it. May be repeated."),
        click.option("--account", "accounts", multiple=True, metavar="[NAMESPACE/]NAME",
                     help="Select only Secrets of this ServiceAccount. * matches any characters. May be repeated."),
        click.option("-n", "--namespace", "namespaces", multiple=True, type=NAMESPACE_GLOB,
                     help="Select only Secrets of this namespace. * matches any characters. Secrets of kube-system"
                          " must be named, or selected by a namespace that begins with kube-system. May be repeated."),
        click.argument("names", nargs=-1, type=_SECRET, metavar="[NAMESPACE/NAME]..."),
    ):  # fmt: skip
        command = option(command)
    return command


def _max_option(default: int | None) -> Callable[[F], F]:
    every = "" if default else " Default: all."
    return click.option(
        "--max", "max_count", type=click.IntRange(min=1), default=default, metavar="NUMBER",
        help="Change at most this number of selected Secrets, the most urgent state first, then the most powerful"
             f" account. Secrets named as arguments do not count.{every}",
    )  # fmt: skip


@click.command("disable")
@click.option("--reason", type=_REASON,
              help="Why; recorded in the Secret and in an Event. Required, except with --dry-run.")  # fmt: skip
@unused_days_option
@_max_option(WAVE)
@_change_options
def disable(*, reason: str | None, **options: Any) -> int:
    """Make the API server refuse legacy tokens (reversible).

    Labels the Secrets with kubernetes.io/legacy-token-invalid-since, and records who did it, when and why. The data of
    the Secrets does not change. The API server refuses the tokens within 10 seconds.

    Refuses a Secret if a workload refers to it, if workloads that may refer to it could not be read, if its token was
    used within --unused-days, if its last use is unknown, or if it is too early to tell, because the Secret or the
    record of its uses is younger than --unused-days. Secrets that you name with --force are disabled all the same. If
    you give --unused-days, only tokens that were unused for that long are selected.

    \b
    Examples:
      tokenguard legacy disable --unused-days 90 --dry-run
      tokenguard legacy disable shop/robot-token --reason "replaced, SHOP-12"

    Exit status: 0 done; 1 a named Secret is refused; 2 usage error or failed run, or you answered no.
    """
    given = ChangeOptions(**options)
    selection = given.selection(unused_only=is_given("unused_days"), reason=reason or "")
    if reason is None and not given.dry_run:
        raise click.UsageError("missing option --reason")
    return _change(Command.DISABLE, given, selection)


@click.command("restore")
@click.option("--still-used", is_flag=True, help="Select only Secrets in the state 'disabled but still used'.")
@refused_use_options
@click.option("--reason", type=_REASON, help="Why; recorded in an Event.")
@_max_option(None)
@_change_options
def restore(*, reason: str | None, still_used: bool, **options: Any) -> int:
    """Make disabled tokens valid again.

    Removes the label that 'disable' set, and what it recorded. Refuses a Secret that tokenguard has not disabled, for
    example one that the cleaner of Kubernetes has disabled, unless --force names it.

    The rule legacy-token-secret denies the removal of the label, so where it is enforced, you need an exemption; see
    docs/retire.md.

    \b
    Examples:
      tokenguard legacy restore shop/robot-token --reason "still used by the backup"
      tokenguard legacy restore --still-used

    Exit status: 0 done; 1 a named Secret is refused; 2 usage error or failed run, or you answered no.
    """
    given = ChangeOptions(**options)
    return _change(Command.RESTORE, given, given.selection(still_used=still_used, reason=reason or ""))


@click.command("delete")
@refused_use_options
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), default=_KEPT, metavar="FOLDER",
              help="Where to write a manifest of each Secret, without data.")  # fmt: skip
@_max_option(None)
@_change_options
def delete(*, keep: Path, **options: Any) -> int:
    """Delete Secrets that nobody uses any more (irreversible).

    Deletes only Secrets that have been disabled for --after-days without a refused use, and to which no workload
    refers. The API server records the day of a refused use in the label kubernetes.io/legacy-token-last-used;
    --audit-log also counts refused uses in a log.

    Writes a manifest of each Secret, without data, to disk before it deletes the Secret.

    \b
    Examples:
      tokenguard legacy delete --namespace '*' --dry-run
      tokenguard legacy delete shop/robot-token --keep ~/retired-secrets

    Exit status: 0 done; 1 a named Secret is refused; 2 usage error or failed run, or you answered no.
    """
    given = ChangeOptions(**options)
    return _change(Command.DELETE, given, given.selection(), keep=keep)


COMMANDS = (disable, restore, delete)


def _change(command: Command, options: ChangeOptions, selection: Selection, keep: Path = _KEPT) -> int:
    """Make a plan, show it, ask, and carry it out; return the exit status."""
    asks = not (options.yes or options.dry_run)
    if asks and (options.output != "text" or not _is_terminal()):
        cause = "--output json does not ask" if options.output != "text" else "there is no terminal to ask on"
        raise click.UsageError(f"{cause}; use --yes or --dry-run")
    request = scan_request(
        options.policy,
        options.policy_configmap,
        options.own_namespace,
        options.unused_days,
        options.scanned_namespaces(selection),
    )
    policies, refused = request.read_policies(), refused_uses(options.audit_logs)
    with connected(options.kubeconfig, options.context) as transport:
        report = read_report(transport, request, policies, options.after_days, refused)
        if unread := report.secrets_unread:
            raise click.ClickException(unread.error)
        manifests = KeptManifests(keep)
        deleted = manifests.among(selection.named) if command is Command.DELETE else frozenset()
        plan = make_plan(command, report, selection, deleted)
        if options.output == "text":
            print_report({"text": legacy_plan.format_plan}, "text", plan)
        titles = frozenset(plan.done)
        done = (secret for secret in report.secrets if secret.title in titles)
        lately = disabled_lately(done, transport.now()) if command is Command.DISABLE else []
        if options.dry_run or not (plan.secrets or lately):
            return _finish(plan, options, ())
        if asks and plan.secrets and not _confirm(command):
            return 2
        writer = LegacyWriter(
            transport, Author(own_username(transport), transport.now(), selection.reason), manifests.write
        )
        writer.complete_events(lately)
        return _carry_out(plan, writer, options, keep)


def _carry_out(plan: Plan, writer: LegacyWriter, options: ChangeOptions, keep: Path) -> int:
    """Carry out a plan and return the exit status; text shows each result when it is there, JSON all at the end."""
    results: list[ChangeResult] = []
    try:
        for result in writer.carry_out(plan):
            results.append(result)
            _show(plan.command, result, options)
    except (ApiError, KeyboardInterrupt) as error:
        _finish(plan, options, results)
        count = sum(not result.error for result in results)
        done = f"{count} of {counted(len(plan.secrets), 'Secret')} {_PAST[plan.command]}"
        message = f"{str(error) or 'interrupted'}; {done}: run the command again to go on"
        if isinstance(error, KeyboardInterrupt):
            click.echo(f"error: {message}", err=True)
            raise
        raise click.ClickException(message) from None
    if plan.command is Command.DELETE and options.output == "text" and not all(result.error for result in results):
        click.echo(f"their manifests, without data, are in {plain(str(keep))}")
    return _finish(plan, options, results)


def _show(command: Command, result: ChangeResult, options: ChangeOptions) -> None:
    if result.error:
        click.echo(f"error: {result.secret}: not {_PAST[command]}: {result.error}", err=True)
    elif options.output == "text":
        click.echo(f"{_PAST[command]} {result.secret}")
    if result.note:
        click.echo(f"warning: {result.secret}: {result.note}", err=True)


def _finish(plan: Plan, options: ChangeOptions, results: Sequence[ChangeResult]) -> int:
    if options.output == "json":
        executed = ExecutedPlan(plan, options.dry_run, tuple(results))
        print_report({"json": legacy_json.format_plan}, "json", executed)
    return 2 if any(result.error for result in results) else plan.exit_status


def _confirm(command: Command) -> bool:
    """Ask whether to carry out a plan. Raises `click.Abort` without an answer."""
    try:
        agreed = click.confirm(f"{command.capitalize()} them?", err=True)
    except click.Abort:
        click.echo("\nnothing was changed", err=True)
        raise
    if not agreed:
        click.echo("nothing was changed", err=True)
    return agreed


def _is_terminal() -> bool:
    """Return whether somebody can be asked."""
    return sys.stdin.isatty()
