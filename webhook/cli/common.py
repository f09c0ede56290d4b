"""What commands share: options, input files, access to the cluster. Errors are `click.ClickException`s."""

import contextlib
import datetime as dt
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.check.input_files import InputFile, InputProblem, read
from webhook.check.policy_validation import policy_problems
from webhook.cli.error_messages import InputError
from webhook.cluster.environment import in_cluster
from webhook.cluster.transport import Transport
from webhook.core.cluster_state import DEFAULT_NAMESPACE
from webhook.core.formatting import did_you_mean, quote
from webhook.core.k8s_names import is_dns_label
from webhook.core.policy.loader import default_policy, lint_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.core.selectors import Labels
from webhook.formatters.check_lines import problem_line

_MAX_DAYS = 3650
F = TypeVar("F", bound=Callable[..., Any])
Warn = Callable[[InputProblem], None]


def input_error(problems: Iterable[InputProblem], hint: str = "") -> InputError:
    """Return the error that ends a command because of its input, with a line for each problem."""
    return InputError("\n".join([*map(problem_line, problems), *filter(None, [hint])]))


class Choice(click.Choice[str]):
    """One of several words, with a "did you mean" if it is none of them."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's
        """Return what is wrong with a word."""
        words = [*map(str, self.choices)]
        return f"{quote(str(value))} is not one of {', '.join(words)}{did_you_mean(str(value), words)}"


class Parsed(click.ParamType[Any]):
    """The type of an option that a function parses; its `ValueError` says what is wrong with the text."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value."""
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _namespaced_name(value: str) -> str:
    if not re.fullmatch(r"([a-z0-9-]{1,63}/)?[a-z0-9.-]{1,253}", value):
        raise ValueError(f"{quote(value)} is not [NAMESPACE/]NAME")
    return value


NAMESPACED_NAME = Parsed("[NAMESPACE/]NAME", _namespaced_name)
"""The name of an object, in tokenguard's own namespace if it names none; see `qualified_name`."""


def qualified_name(name: str, namespace: str) -> str:
    """Return `NAMESPACE/NAME` for a name that may lack its namespace."""
    return name if "/" in name else f"{namespace}/{name}"


def _namespace(value: str) -> str:
    if not is_dns_label(value):
        raise ValueError(f"{quote(value)} is not a namespace name: at most 63 of a-z, 0-9 and inner -")
    return value


def _namespace_glob(value: str) -> str:
    if "," in value:
        raise ValueError(f"{quote(value)} is not a namespace name; repeat the option for each namespace")
    return value if "*" in value else _namespace(value)


DAYS, POSITIVE_DAYS = click.IntRange(0, _MAX_DAYS), click.IntRange(1, _MAX_DAYS)
FILE = click.Path(readable=False, allow_dash=True)
"""A file, so that the shell can complete it; whether it can be read is found out when it is read."""
NAMESPACE = Parsed("NAME", _namespace)
NAMESPACE_GLOB = Parsed("GLOB", _namespace_glob)

own_namespace_option = click.option(
    "--own-namespace", envvar="TOKENGUARD_OWN_NAMESPACE", show_envvar=True, type=NAMESPACE, default=DEFAULT_NAMESPACE,
    help="Namespace that tokenguard is installed in.",
)  # fmt: skip


def _labels(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Labels:
    pairs = [value.partition("=") for value in values]
    if not all(separator for _, separator, _ in pairs):
        raise click.BadParameter("a label is KEY=VALUE")
    return frozenset((key, value) for key, _, value in pairs)


label_option = click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", callback=_labels,
    help="Label of the namespace, for the policy's overrides. May be repeated.",
)  # fmt: skip


api_audience_option = click.option(
    "--api-audience", "api_audiences", multiple=True, metavar="NAME",
    help="Audience of the API server, if the policy names none. May be repeated. Default:"
         " https://kubernetes.default.svc, with and without .cluster.local.",
)  # fmt: skip


def scan_api_audience_option(condition: str) -> Callable[[F], F]:
    """Return the option for the API server's audiences in a scan; `condition` says when it is used, if not always."""
    return click.option(
        "--api-audience", "api_audiences", multiple=True, metavar="NAME",
        help=f"Audience of the API server{condition}. May be repeated. Default: the audiences of the ServiceAccount"
             " token that the scan uses; otherwise the token issuer and https://kubernetes.default.svc, with and"
             " without .cluster.local.",
    )  # fmt: skip


def output_option(formats: Iterable[str]) -> Callable[[F], F]:
    """Return the option that selects one of the formats of a report; the default is text."""
    return click.option("-o", "--output", type=Choice([*formats]), default="text", help="Output format.")


def schema_option(schema: Callable[[], dict[str, Any]]) -> Callable[[F], F]:
    """Return the option that prints the JSON Schema of a command's JSON instead of running the command."""

    def show(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
        if value:
            click.echo(json.dumps(schema(), indent=2))
            context.exit(0)

    return click.option("--schema", is_flag=True, is_eager=True, expose_value=False, callback=show,
                        help="Print the JSON Schema of --output json and exit.")  # fmt: skip


def policy_option(default: str) -> Callable[[F], F]:
    """Return the option for a policy file; `default` names the policy without it."""
    return click.option(
        "--policy", envvar="TOKENGUARD_POLICY", show_envvar=True, metavar="FILE", type=FILE,
        help=f"Policy document or ConfigMap manifest. Default: {default}.",
    )  # fmt: skip


def cluster_options(command: F) -> F:
    """Add the options that select a cluster."""
    kubeconfig = click.option(
        "--kubeconfig", envvar=["TOKENGUARD_KUBECONFIG", "KUBECONFIG"], show_envvar=True, metavar="FILE",
        type=click.Path(path_type=Path), help="Kubeconfig of the cluster. Default: kubectl's, or the pod's account.",
    )  # fmt: skip
    context = click.option(
        "--context", metavar="NAME", help="Context of the kubeconfig. Default: the current one.",
        envvar="TOKENGUARD_CONTEXT", show_envvar=True,
    )  # fmt: skip
    return kubeconfig(context(command))


@contextlib.contextmanager
def connected(kubeconfig: Path | None, context: str | None) -> Iterator[Transport]:
    """Connect to the API server that kubectl would use."""
    from webhook.cluster.api_client import ApiClient  # noqa: PLC0415 - the client takes long to import
    from webhook.server.process_setup import private_folder  # noqa: PLC0415 - as above

    default = Path("~/.kube/config").expanduser()
    file = kubeconfig or (default if default.exists() else None)
    if file is None and context is not None:
        raise click.ClickException(f"--context needs a kubeconfig, and {default} does not exist; use --kubeconfig FILE")
    if file is None and not in_cluster():
        raise click.ClickException(f"no cluster: {default} does not exist and this is not a pod; use --kubeconfig FILE")
    with private_folder() as folder:
        client = ApiClient(file, folder, context=context)
        client.load()
        yield client


def require_input(paths: Iterable[str]) -> None:
    """Raise `click.UsageError` if a command would read standard input, and that is a terminal."""
    if not paths and sys.stdin.isatty():
        raise click.UsageError("no input; name a file, a folder, or - for standard input")


def read_input(path: str) -> bytes:
    """Return the content of a file or, for `-`, of standard input. Raises `InputError`."""
    data = read(InputFile(path), sys.stdin.buffer)
    if isinstance(data, InputProblem):
        raise input_error([data])
    return data


def load_policy(path: str | None, warn: Warn | None = None) -> Policy:
    """Return the policy in a file, or the default policy; `warn` gets each of its warnings.

    Raises `InputError` with all errors of the document.
    """
    return default_policy() if path is None else parse_policy(read_input(path), path, warn)


def parse_policy(data: bytes, path: str, warn: Warn | None = None, hint: str = "") -> Policy:
    """Return the policy in a document; `warn` gets each of its warnings. Raises `InputError` that ends with `hint`."""
    policy, warnings = lint_policy(data, dt.datetime.now(dt.UTC)) if warn else (read_policy(data), ())
    if not isinstance(policy, Policy):
        raise input_error(policy_problems(path, policy), hint)
    if warn:
        for warning in policy_problems(path, warnings):
            warn(warning)
    return policy
