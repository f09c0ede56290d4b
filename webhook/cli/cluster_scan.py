"""Scans a live cluster as the options of a command say: for `scan`, and for commands that act on what a scan finds."""

import datetime as dt
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from webhook.cli.common import NAMESPACED_NAME, load_policy, own_namespace_option, policy_option, qualified_name
from webhook.cli.policy_source import cluster_policy, existing_cluster_policy
from webhook.cluster.scan_reader import ScanReader
from webhook.cluster.transport import Transport
from webhook.core.formatting import did_you_mean, quote
from webhook.core.policy.loader import default_policy, inactive_policy
from webhook.core.policy.model import Mode, Policy
from webhook.core.selectors import Globs, glob_matches
from webhook.formatters.progress import Progress
from webhook.scan.api_types import LegacyTokenSecret
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.options import NO_FILTERS, UNUSED_DAYS, ScanFilters, ScanOptions
from webhook.scan.report import ScanReport
from webhook.scan.scanner import Scanner

F = TypeVar("F", bound=Callable[..., Any])


def scan_policy_options(command: F) -> F:
    """Add --policy, --policy-configmap and --own-namespace."""
    configmap = click.option(
        "--policy-configmap", default="token-policy", type=NAMESPACED_NAME, envvar="TOKENGUARD_POLICY_CONFIGMAP",
        show_envvar=True,
        help="ConfigMap with the cluster's policy. If the default one is missing, the default policy is used.",
    )  # fmt: skip
    return policy_option("the cluster's policy, see --policy-configmap")(configmap(own_namespace_option(command)))


class GivenPolicies(NamedTuple):
    """The policies in files: the one to evaluate by, None for the cluster's, and the one to simulate."""

    policy: Policy | None
    simulated: Policy | None


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """What to scan, and by which policy: the values of the options of these names.

    The Secrets in the snapshot are of the type `secret_type`.
    """

    policy: str | None
    policy_configmap: str
    own_namespace: str
    filters: ScanFilters = NO_FILTERS
    mode: str | None = None
    simulate: str | None = None
    unused_days: int = UNUSED_DAYS
    api_audiences: tuple[str, ...] = ()
    secret_type: type[LegacyTokenSecret] = LegacyTokenSecret

    def read_policies(self) -> GivenPolicies:
        """Read the policies in files, before the cluster is asked for anything. Raises `InputError`."""
        policy = load_policy(self.policy) if self.policy else None
        return GivenPolicies(policy, load_policy(self.simulate) if self.simulate else None)


class ClusterScan(NamedTuple):
    """The report, what was read before workloads and pods, and the policy."""

    report: ScanReport
    snapshot: ClusterSnapshot
    policy: Policy


def scan_cluster(transport: Transport, request: ScanRequest, policies: GivenPolicies) -> ClusterScan:
    """Scan the cluster.

    Raises `ApiError`, and `click.ClickException` for a policy or a namespace that cannot be used.
    """
    namespaces = request.filters.namespaces
    configmap = qualified_name(request.policy_configmap, request.own_namespace)
    with Progress(sys.stderr) as progress:
        names = () if Globs(namespaces).wild else namespaces
        reader = ScanReader(transport, progress.step, names, request.secret_type)
        given, origin = (policies.policy, str(request.policy)) if request.policy else _cluster_policy(reader, configmap)
        current = given or default_policy()
        if request.mode:
            current, origin = current.with_mode(Mode(request.mode)), f"--mode {request.mode}, {origin}"
        own_namespace = request.own_namespace if is_given("own_namespace") else configmap.partition("/")[0]
        snapshot = reader.snapshot(own_namespace, request.api_audiences)
        if snapshot.all_namespaces and snapshot.namespaces:
            require_matches(namespaces, snapshot.namespaces)
        if policies.simulated and not (given or request.mode or snapshot.history.webhook_exists):
            current = inactive_policy()
            origin = f"none, as there is no {configmap}: compared with a cluster in which nothing is evaluated"
        options = ScanOptions(
            policy=current,
            policy_origin=origin,
            now=dt.datetime.now(dt.UTC).replace(microsecond=0),
            cluster=transport.address,
            context=transport.context,
            simulated=policies.simulated,
            simulated_origin=request.simulate or "",
            filters=request.filters,
            unused_days=request.unused_days,
        )
        scanner = Scanner(options, snapshot)
        reader.fill(scanner)
        progress.step("writing the report")
        return ClusterScan(scanner.report(), snapshot, current)


def is_given(parameter: str) -> bool:
    """Return whether an option was given, as a flag or in the environment."""
    return click.get_current_context().get_parameter_source(parameter) != ParameterSource.DEFAULT


def require_matches(globs: Iterable[str], namespaces: Collection[str]) -> None:
    """Fail if a glob matches no namespace: an empty scan must not look clean."""
    for glob in globs:
        if not any(glob_matches(glob, namespace) for namespace in namespaces):
            hint = did_you_mean(glob, get_close_matches(glob, namespaces))
            raise click.ClickException(f"--namespace {quote(glob)}: no such namespace{hint}")


def _cluster_policy(reader: ScanReader, configmap: str) -> tuple[Policy | None, str]:
    """Return the policy in a ConfigMap, and in the report the name of what is used.

    None if there is no such ConfigMap, and no option names it.
    """
    policy = (existing_cluster_policy if is_given("policy_configmap") else cluster_policy)(reader, configmap)
    return policy, f"ConfigMap {configmap}" if policy else f"default policy, as there is no ConfigMap {configmap}"
