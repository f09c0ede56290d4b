"""The options of `tokenguard check`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

OUTPUTS = ("text", "json", "sarif")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What `check` was asked for. `policy` is the path of a policy's file, None for the default policy."""

    paths: tuple[str, ...] = ()
    policy: str | None = None
    output: str = "text"
    fix: bool = False
    exclude: tuple[str, ...] = ()
    namespace: str = "default"
    verbose: bool = False


def _option(*names: str, help: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: A002 - click's own word
    variable = "TOKENGUARD_" + max(names, key=len).lstrip("-").upper()
    return click.option(*names, help=help, envvar=variable, show_envvar=True, **settings)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.argument("paths", nargs=-1, metavar="[PATH|-]..."),
    _option(
        "--policy", metavar="FILE", help="Policy document, or ConfigMap that holds one, in place of the default policy."
    ),
    _option("--output", type=click.Choice(OUTPUTS), default="text", show_default=True, help="How findings are told."),
    _option(
        "--fix",
        is_flag=True,
        help="Print the manifests as the webhook would leave them, as YAML; findings go to stderr. Documents that are "
        "changed lose their comments and layout, all others stay as they were written, those that can't be read, too.",
    ),
    _option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        help="Leave out files and folders in the given folders, as a line of .gitignore does: a name at any depth, or, "
        "with a slash, a path from the folder that is given; ** stands for any number of folders. May be repeated.",
    ),
    _option(
        "-n",
        "--namespace",
        metavar="NAME",
        default="default",
        show_default=True,
        help="Namespace of objects that name none.",
    ),
    _option(
        "-v",
        "--verbose",
        is_flag=True,
        help="Tell also what only the audit log would hear of, what is exempt, and what was skipped.",
    ),
)


def check_options(command: F) -> F:
    """Give a command the options of `check`; it is called with the fields of `CheckOptions`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
