"""What commands have in common: a run that fails, the policy that a file holds, the cluster at hand."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.check.input_files import InputFile, InputProblem, read
from webhook.cluster.environment import in_cluster
from webhook.cluster.transport import ApiError, Transport
from webhook.core.policy.errors import PolicyError
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.core.selectors import Labels
from webhook.formatters import check_text
from webhook.server.options import StartError
from webhook.server.process_setup import private_folder

F = TypeVar("F", bound=Callable[..., Any])


class Failure(click.ClickException):
    """The call or the run failed; the message says why."""

    exit_code = 2


class Parsed(click.ParamType[Any]):
    """A flag's value that a function parses; its `ValueError` says what is wrong with the text."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, _ctx: click.Context | None) -> Any:
        """Return what `parse` returns; a default may be that already."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            raise Failure(f"{param.opts[0] if param else self.name} {value}: {error}") from error


def _namespaced_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}", value):
        raise ValueError("write NAMESPACE/NAME")
    return value


NAMESPACED_NAME = Parsed("NAMESPACE/NAME", _namespaced_name)


def bytes_in(path: str) -> bytes:
    """Return what a file holds, or `-`, standard input. Raises `Failure` where it can't be read."""
    data = read(InputFile(path), sys.stdin.buffer)
    if isinstance(data, InputProblem):
        raise Failure(check_text.problem_line(data))
    return data


def policy_in(path: str | None) -> Policy:
    """Return the policy in a file, or the default one; print every mistake in it and exit with status 2."""
    if path is None:
        return default_policy()
    data = read(InputFile(path), sys.stdin.buffer)
    if isinstance(data, InputProblem):
        problems = [data]
    elif isinstance(policy := read_policy(data), Policy):
        return policy
    else:
        problems = policy_problems(path, policy)
    for problem in problems:
        click.echo(check_text.problem_line(problem), err=True)
    sys.exit(2)


def policy_problems(path: str, errors: Iterable[PolicyError]) -> list[InputProblem]:
    """Return the errors in a policy file as problems of that file."""
    return [InputProblem(path, f"{error.path}: {error.message}".removeprefix(": "), error.line) for error in errors]


def labels_given(given: Iterable[str]) -> Labels:
    """Return labels that were given as `KEY=VALUE`."""
    pairs = [label.partition("=") for label in given]
    if not all(separator for _, separator, _ in pairs):
        raise click.UsageError("--label takes KEY=VALUE")
    return frozenset((key, value) for key, _, value in pairs)


def kubeconfig_option(command: F) -> F:
    """Give a command the flag that says which cluster is at hand."""
    option = click.option(
        "--kubeconfig", envvar=["TOKENGUARD_KUBECONFIG", "KUBECONFIG"], type=click.Path(path_type=Path),
        help="How to reach the API server; none: as kubectl does.",
    )  # fmt: skip
    return option(command)


def context_option(command: F) -> F:
    """Give a command the flag that says which of a kubeconfig's clusters is at hand, and as whom."""
    option = click.option("--context", metavar="NAME", help="The kubeconfig's context; none: its current one.")
    return option(command)


@contextlib.contextmanager
def cluster_at_hand(kubeconfig: Path | None, context: str | None = None) -> Iterator[Transport]:
    """Reach the API server that kubectl would reach. What it refuses in the block is a `Failure`."""
    from webhook.cluster.api_client import ApiClient  # noqa: PLC0415 - the client is loaded where it is used alone

    default = Path("~/.kube/config").expanduser()
    found = kubeconfig or (default if default.exists() else None)
    if found is None and not in_cluster():
        raise Failure(f"this is no pod, and there is no {default}: say with --kubeconfig where the API server is")
    if found is None and context is not None:
        raise Failure(f"--context goes with a kubeconfig, and there is no {default}")
    try:
        with private_folder() as folder:
            yield ApiClient(found, folder, context=context)
    except (ApiError, StartError) as error:
        raise Failure(str(error)) from error
