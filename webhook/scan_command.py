"""The `scan` command: what a policy would do to what runs in a cluster, and how its tokens are used."""

import datetime as dt
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.check.input_files import STDIN
from webhook.cluster.inventory import Inventory
from webhook.cluster.transport import ApiError, Transport
from webhook.commands import Failure, cluster_at_hand, context_option, kubeconfig_option, policy_in, policy_problems
from webhook.core.k8s_names import is_dns_label
from webhook.core.policy.document import default_policy, read_policy
from webhook.core.policy.model import Action, Policy
from webhook.core.rules import BY_NAME
from webhook.core.safe_output import safe_json
from webhook.core.selectors import Globs, glob_matches
from webhook.core.text import did_you_mean, quote
from webhook.formatters import check_text, scan_json, scan_text
from webhook.formatters.progress import Progress
from webhook.scan.options import UNUSED_DAYS, ScanFilters, ScanOptions
from webhook.scan.report import ScanReport
from webhook.scan.scanner import Scanner

OWN_POLICY = "tokenguard/token-policy"
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ScanFlags:
    """What `scan` was asked for."""

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
        """What is to be told of alone."""
        return ScanFilters(self.namespaces, self.rules, tuple(map(Action, self.actions)))


def _configmap(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    namespace, _, name = value.partition("/")
    if not (namespace and name) or "/" in name:
        raise click.BadParameter("takes NAMESPACE/NAME")
    return value


def _globs(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if "*" not in value and not is_dns_label(value):
            raise click.BadParameter(f"no namespace can be called {quote(value)}: a-z, 0-9 and - within, 63 at most")
    return values


def _print_schema(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    if value:
        click.echo(json.dumps(scan_json.schema(), indent=2))
        context.exit(0)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--policy", envvar="TOKENGUARD_POLICY", show_envvar=True, metavar="FILE",
                 help="Judge by this policy document, or ConfigMap that holds one, in place of the cluster's own."),
    click.option("--policy-configmap", metavar="NAMESPACE/NAME", default=OWN_POLICY, show_default=True,
                 callback=_configmap, envvar="TOKENGUARD_POLICY_CONFIGMAP", show_envvar=True,
                 help="Where the cluster's own policy is; where there is none, the default policy is judged by."),
    click.option("--simulate", metavar="FILE", help="Compare with this policy: what would it newly reject or patch?"),
    click.option("-n", "--namespace", "namespaces", multiple=True, metavar="GLOB", callback=_globs,
                 help="Look at these namespaces alone. For a name, rights in that namespace suffice; * stands for any"
                      " run of characters, and takes rights in the whole cluster. May be repeated."),
    click.option("--rule", "rules", multiple=True, type=click.Choice(tuple(BY_NAME)), metavar="RULE",
                 help="Tell of findings of this rule alone; all count. May be repeated."),
    click.option("--action", "actions", multiple=True, type=click.Choice([str(one) for one in Action][:-1]),
                 help="Tell of findings with this action alone; all count. May be repeated."),
    click.option("--unused-days", type=click.IntRange(min=0), default=UNUSED_DAYS, show_default=True, metavar="N",
                 help="A legacy Secret that nothing refers to can go when nobody has used it for so many days."),
    click.option("--api-audience", "api_audiences", multiple=True, metavar="NAME",
                 help="An audience of the API server, where the policy names none; may be repeated. None: as the"
                      " service account token says that the scan is made with; else the usual ones are assumed."),
    click.option("--output", type=click.Choice(["text", "json", "html"]), default="text", show_default=True,
                 help="How it is told."),
    kubeconfig_option,
    context_option,
    click.option("--schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schema,
                 help="Print the JSON Schema of --output json, and exit."),
)  # fmt: skip


def _scan_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("scan")
@_scan_options
def scan_command(**flags: Any) -> None:
    """Look over a live cluster: what a policy would reject, patch or warn of if it were created again; legacy tokens.

    The API server is asked for lists, namespaces and the kinds it serves, and of Secrets for no more than metadata: of
    those of the legacy type, and of those in which a legacy token was used. See manifests/scanner for the rights that
    it takes. Nothing is changed.

    Exit status: 0 nothing would be rejected, 1 something would be (with --simulate: by that policy), 2 the call or the
    run failed, or not all could be read that decisions depend on.
    """
    options = ScanFlags(**flags)
    if STDIN == options.policy == options.simulate:
        raise click.UsageError("--policy and --simulate can't both be standard input")
    given = policy_in(options.policy) if options.policy else None
    simulated = policy_in(options.simulate) if options.simulate else None
    with cluster_at_hand(options.kubeconfig, options.context) as transport, Progress(sys.stderr) as progress:
        report = _scanned(options, transport, given, simulated, progress.step)
    if options.output == "text":
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        for line in scan_text.lines(report, colour=colour):
            click.echo(line)
    else:
        sys.stdout.flush()
        for piece in _pieces(report, options.output):
            sys.stdout.buffer.write(piece.encode(errors="replace"))  # both formats are UTF-8
        sys.stdout.buffer.flush()
    sys.exit(report.exit_status)


def _pieces(report: ScanReport, output: str) -> Iterator[str]:
    if output == "json":
        yield from map(safe_json, scan_json.pieces(report))
    else:
        from webhook.formatters.scan_html import page  # noqa: PLC0415 - the template engine is loaded for a page alone

        yield from page.pieces(report)


def _scanned(
    options: ScanFlags,
    transport: Transport,
    given: Policy | None,
    simulated: Policy | None,
    step: Callable[[str], None],
) -> ScanReport:
    wild = Globs(options.namespaces).wild
    inventory = Inventory(transport, step, () if wild else options.namespaces)
    policy, origin = (given, str(options.policy)) if given else _own_policy(inventory, options.policy_configmap)
    known = inventory.known()
    _refuse_typos(options.namespaces, known.namespaces if known.all_namespaces else ())
    known.given_audiences, known.token_audiences = options.api_audiences, transport.token_audiences()
    scan = Scanner(
        ScanOptions(
            policy=policy,
            policy_origin=origin,
            now=dt.datetime.now(dt.UTC),
            cluster=transport.address,
            simulated=simulated,
            simulated_origin=options.simulate or "",
            filters=options.filters,
            unused_days=options.unused_days,
        ),
        known,
    )
    inventory.fill(scan)
    step("judging is done, writing the report")
    return scan.report()


def _refuse_typos(given: Iterable[str], namespaces: Collection[str]) -> None:
    """Fail where one of the given globs matches no namespace, as far as any are known: nothing isn't clean."""
    for pattern in given:
        if namespaces and not any(glob_matches(pattern, one) for one in namespaces):
            like = did_you_mean(pattern, _nearest_first(pattern, namespaces))
            raise Failure(f"--namespace {quote(pattern)}: there is no such namespace{like}")


def _nearest_first(wrong: str, known: Iterable[str]) -> list[str]:
    """Return words by how many letters they have more or less: 'did you mean' looks at the first ones alone."""
    letters = Counter(wrong)

    def distance(word: str) -> int:
        others = Counter(word)
        return (letters - others).total() + (others - letters).total()

    return sorted(known, key=distance)


def _own_policy(inventory: Inventory, where: str) -> tuple[Policy, str]:
    """Return the policy in a ConfigMap, or the default one where it isn't there, and what the report calls it."""
    namespace, _, name = where.partition("/")
    try:
        document = inventory.policy(namespace, name)
    except ApiError as error:
        if error.status != 403:
            raise
        advice = f"see 'kubectl auth can-i list configmaps/{name} -n {namespace}', or give --policy"
        raise Failure(f"the cluster's own policy can't be read: {error}; {advice}") from None
    if document is None:
        return default_policy(), f"the defaults (no {where})"
    policy = read_policy(document.encode())
    if isinstance(policy, Policy):
        return policy, f"ConfigMap {where}"
    for problem in policy_problems(f"ConfigMap {where}", policy):
        click.echo(check_text.problem_line(problem), err=True)
    raise Failure("the cluster's own policy holds mistakes: mend it, or give --policy")
