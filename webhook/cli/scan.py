"""The `scan` command: evaluates a live cluster."""

import datetime as dt
import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.check.input_files import STDIN
from webhook.cli.common import Failure, cluster_at_hand, context_option, kubeconfig_option, policy_in, policy_problems
from webhook.cluster.scan_reader import ScanReader
from webhook.cluster.transport import ApiError, Transport
from webhook.core.formatting import did_you_mean, quote
from webhook.core.k8s_names import is_dns_label
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Action, Policy
from webhook.core.rules import BY_NAME
from webhook.core.selectors import Globs, glob_matches
from webhook.formatters import check_text, scan_json, scan_text
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, Formatter, print_report
from webhook.formatters.progress import Progress
from webhook.scan.options import UNUSED_DAYS, ScanFilters, ScanOptions
from webhook.scan.report import ScanReport
from webhook.scan.scanner import Scanner

OWN_POLICY = "tokenguard/token-policy"
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ScanFlags:
    """The options of `scan`."""

    policy: str | None
    policy_configmap: str
    simulate: str | None
    namespaces: tuple[str, ...]
    rules: tuple[str, ...]
    actions: tuple[str, ...]
    unused_days: int
    api_audiences: tuple[str, ...]
    output: str
    kubeconfig: Path | None
    context: str | None

    @property
    def filters(self) -> ScanFilters:
        """What to scan and show."""
        return ScanFilters(self.namespaces, self.rules, tuple(map(Action, self.actions)))


def _configmap(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    namespace, _, name = value.partition("/")
    if not (namespace and name) or "/" in name:
        raise click.BadParameter("must be NAMESPACE/NAME")
    return value


def _globs(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if "*" not in value and not is_dns_label(value):
            raise click.BadParameter(f"{quote(value)} is not a namespace name: at most 63 of a-z, 0-9 and inner -")
    return values


def _print_schema(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    if value:
        click.echo(json.dumps(scan_json.schema(), indent=2))
        context.exit(0)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--policy", envvar="TOKENGUARD_POLICY", show_envvar=True, metavar="FILE",
                 help="Policy document or ConfigMap manifest; without it the cluster's own policy."),
    click.option("--policy-configmap", metavar="NAMESPACE/NAME", default=OWN_POLICY, show_default=True,
                 callback=_configmap, envvar="TOKENGUARD_POLICY_CONFIGMAP", show_envvar=True,
                 help="The ConfigMap with the cluster's own policy; if it does not exist, the default policy is used."),
    click.option("--simulate", metavar="FILE", help="Compare with this policy: show what it would change."),
    click.option("-n", "--namespace", "namespaces", multiple=True, metavar="GLOB", callback=_globs,
                 help="Scan only these namespaces. A name needs permissions in that namespace only; * matches any"
                      " characters and needs permissions in the whole cluster. May be repeated."),
    click.option("--rule", "rules", multiple=True, type=click.Choice(tuple(BY_NAME)), metavar="RULE",
                 help="Show only findings of this rule; outcomes count all findings. May be repeated."),
    click.option("--action", "actions", multiple=True, type=click.Choice([action.value for action in Action][:-1]),
                 help="Show only findings with this action; outcomes count all findings. May be repeated."),
    click.option("--unused-days", type=click.IntRange(min=0), default=UNUSED_DAYS, show_default=True, metavar="N",
                 help="Days without a recorded use after which an unreferenced legacy Secret is safe to delete."),
    click.option("--api-audience", "api_audiences", multiple=True, metavar="NAME",
                 help="An audience of the API server, if the policy names none; may be repeated. Without it those of"
                      " the service account token that the scan is made with, or else the usual ones."),
    click.option("-o", "--output", type=click.Choice(["text", "json", "html"]), default="text", show_default=True,
                 help="Output format."),
    kubeconfig_option,
    context_option,
    click.option("--schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schema,
                 help="Print the JSON Schema of --output json and exit."),
)  # fmt: skip


def _scan_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("scan")
@_scan_options
def scan_command(**options: Any) -> None:
    """Evaluate a live cluster.

    Shows what a policy would deny, patch or warn about if the running pods were recreated, and which legacy tokens
    exist. Nothing is changed. The scan reads lists, namespaces and the kinds that the API server serves; of Secrets
    only metadata, of those of the legacy type and of those in which a legacy token was used. manifests/scanner grants
    the permissions.

    Exit status: 0 nothing would be denied, 1 something would be (with --simulate: by that policy), 2 the call or the
    run failed, or something could not be read that outcomes depend on.
    """
    flags = ScanFlags(**options)
    if STDIN == flags.policy == flags.simulate:
        raise click.UsageError("--policy and --simulate cannot both be standard input")
    given = policy_in(flags.policy) if flags.policy else None
    simulated = policy_in(flags.simulate) if flags.simulate else None
    with cluster_at_hand(flags.kubeconfig, flags.context) as transport, Progress(sys.stderr) as progress:
        report = _scanned(flags, transport, given, simulated, progress.step)
    print_report(FORMATTERS, flags.output, report)
    sys.exit(report.exit_status)


def _html(report: ScanReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    from webhook.formatters.scan_html import page  # noqa: PLC0415 - the template engine is loaded for a page only

    return page.format_report(report, options)


FORMATTERS: Mapping[str, Formatter[ScanReport]] = {
    "text": scan_text.format_report,
    "json": scan_json.format_report,
    "html": _html,
}


def _scanned(
    flags: ScanFlags,
    transport: Transport,
    given: Policy | None,
    simulated: Policy | None,
    step: Callable[[str], None],
) -> ScanReport:
    wild = Globs(flags.namespaces).wild
    inventory = ScanReader(transport, step, () if wild else flags.namespaces)
    policy, origin = (given, str(flags.policy)) if given else _own_policy(inventory, flags.policy_configmap)
    snapshot = inventory.snapshot()
    _refuse_unknown_namespaces(flags.namespaces, snapshot.namespaces if snapshot.all_namespaces else ())
    snapshot.given_audiences, snapshot.token_audiences = flags.api_audiences, transport.token_audiences()
    scanner = Scanner(
        ScanOptions(
            policy=policy,
            policy_origin=origin,
            now=dt.datetime.now(dt.UTC).replace(microsecond=0),
            cluster=transport.address,
            simulated=simulated,
            simulated_origin=flags.simulate or "",
            filters=flags.filters,
            unused_days=flags.unused_days,
        ),
        snapshot,
    )
    inventory.fill(scanner)
    step("writing the report")
    return scanner.report()


def _refuse_unknown_namespaces(given: Iterable[str], namespaces: Collection[str]) -> None:
    """Fail if a glob matches no namespace: an empty scan must not look clean."""
    for pattern in given:
        if namespaces and not any(glob_matches(pattern, namespace) for namespace in namespaces):
            like = did_you_mean(pattern, _nearest_first(pattern, namespaces))
            raise Failure(f"--namespace {quote(pattern)}: no such namespace{like}")


def _nearest_first(wrong: str, known: Iterable[str]) -> list[str]:
    """Sort words by the number of different letters: 'did you mean' considers the first ones only."""
    letters = Counter(wrong)

    def distance(word: str) -> int:
        others = Counter(word)
        return (letters - others).total() + (others - letters).total()

    return sorted(known, key=distance)


def _own_policy(inventory: ScanReader, where: str) -> tuple[Policy, str]:
    """Return the policy in a ConfigMap, or the default policy if there is none, and its name in the report."""
    namespace, _, name = where.partition("/")
    try:
        document = inventory.policy(namespace, name)
    except ApiError as error:
        if error.status != 403:
            raise
        hint = f"see 'kubectl auth can-i list configmaps/{name} -n {namespace}', or use --policy"
        raise Failure(f"cannot read the cluster's own policy: {error}; {hint}") from None
    if document is None:
        return default_policy(), f"default policy (no {where})"
    policy = read_policy(document.encode())
    if isinstance(policy, Policy):
        return policy, f"ConfigMap {where}"
    for problem in policy_problems(f"ConfigMap {where}", policy):
        click.echo(check_text.problem_line(problem), err=True)
    raise Failure("the cluster's own policy is invalid; correct it or use --policy")
