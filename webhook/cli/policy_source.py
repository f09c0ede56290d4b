"""Which policy a command uses: a file's, the cluster's own, or the defaults."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from webhook.check.input_files import STDIN
from webhook.check.report import DEFAULT_ORIGIN, PolicyInUse
from webhook.cli.common import (
    NAMESPACED_NAME,
    Choice,
    Warn,
    cluster_options,
    connected,
    load_policy,
    parse_policy,
    policy_option,
    qualified_name,
)
from webhook.cluster.transport import ApiError
from webhook.core.formatting import plain
from webhook.core.policy.model import Mode, Policy

if TYPE_CHECKING:
    from webhook.cluster.scan_reader import ScanReader

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class PolicyOptions:
    """The options that `policy_options` adds."""

    policy: str | None
    policy_configmap: str | None
    own_namespace: str
    kubeconfig: Path | None
    context: str | None


mode_option = click.option(
    "--mode", type=Choice([mode.value for mode in Mode]),
    help="Evaluate as if this were the policy's mode, in every namespace.",
)  # fmt: skip


def policy_options(command: F) -> F:
    """Add --policy, --policy-configmap and the options of the cluster that has it."""
    configmap = click.option(
        "--policy-configmap", type=NAMESPACED_NAME, envvar="TOKENGUARD_POLICY_CONFIGMAP", show_envvar=True,
        help="Read the policy from this ConfigMap of the cluster, usually token-policy, instead of --policy.",
    )  # fmt: skip
    return policy_option("the default policy")(configmap(cluster_options(command)))


def read_policy_options(
    options: PolicyOptions, mode: str | None = None, warn: Warn | None = None
) -> tuple[Policy, PolicyInUse]:
    """Return the policy that the options name, under this mode, and what a report says about it.

    `warn` gets each warning about the policy. Raises `click.ClickException`.
    """
    file, configmap = options.policy, options.policy_configmap
    if file is not None and configmap is not None:
        given = [name for name in ("policy", "policy_configmap") if _is_argument(name)]
        if len(given) != 1:
            raise click.UsageError("--policy and --policy-configmap exclude each other")
        file, configmap = (
            (file, None) if given == ["policy"] else (None, configmap)
        )  # arguments replace the environment
    if configmap is not None:
        from webhook.cluster.scan_reader import ScanReader  # noqa: PLC0415 - few runs read a cluster

        name = qualified_name(configmap, options.own_namespace)
        with connected(options.kubeconfig, options.context) as transport:
            policy = existing_cluster_policy(ScanReader(transport, lambda _: None), name, warn)
        origin = f"ConfigMap {name}"
    else:
        policy, origin = load_policy(file, warn), file or DEFAULT_ORIGIN
    given_mode = Mode(mode) if mode else None
    revision = policy.revision if file or configmap else ""
    in_use = PolicyInUse("<stdin>" if origin == STDIN else origin, revision, policy.mode, given_mode)
    return policy.with_mode(given_mode) if given_mode else policy, in_use


def cluster_policy(reader: "ScanReader", configmap: str, warn: Warn | None = None) -> Policy | None:
    """Return the policy in a ConfigMap `NAMESPACE/NAME`, or None if that does not exist."""
    namespace, _, name = configmap.partition("/")
    try:
        document = reader.policy(namespace, name)
    except ApiError as error:
        if error.status != 403:
            raise
        hint = f"see 'kubectl auth can-i list configmaps/{name} -n {namespace}', or use --policy FILE"
        raise click.ClickException(f"cannot read the cluster's policy: {error}; {hint}") from None
    if document is None:
        return None
    hint = "the cluster's policy is invalid; correct it or use --policy FILE"
    return parse_policy(document.encode(), f"ConfigMap {configmap}", warn, hint)


def existing_cluster_policy(reader: "ScanReader", configmap: str, warn: Warn | None = None) -> Policy:
    """Return the policy in a ConfigMap `NAMESPACE/NAME`. Raises `click.ClickException` if that does not exist."""
    if policy := cluster_policy(reader, configmap, warn):
        return policy
    labeled = reader.policy_names()
    others = f"; policies of this cluster: {', '.join(map(plain, labeled))}" if labeled else ""
    raise click.ClickException(f"--policy-configmap: ConfigMap {configmap} does not exist in this cluster{others}")


def _is_argument(parameter: str) -> bool:
    return click.get_current_context().get_parameter_source(parameter) == ParameterSource.COMMANDLINE
