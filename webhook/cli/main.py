"""The commands; the one place where parts are put together.

Exit status everywhere: 0 clean, 1 something was found, 2 the call or the run failed.
"""

import codecs
import contextlib
import errno
import io
import json
import os
import shlex
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import yaml

from webhook.check.input_files import STDIN
from webhook.cli.common import Failure, bytes_in, labels_given, policy_in, policy_problems
from webhook.core.formatting import did_you_mean, quote
from webhook.core.policy import schema
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.serializer import namespace_document, policy_document
from webhook.core.rules import BY_NAME, RULES
from webhook.core.safe_output import safe_stream, safe_text
from webhook.formatters import check_text

_UNWRITABLE = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE}


_MODULES = {
    "audit": ("webhook.cli.audit", "audit_group"),
    "certs": ("webhook.cli.certs", "certs_group"),
    "check": ("webhook.cli.check", "check_command"),
    "scan": ("webhook.cli.scan", "scan_command"),
    "serve": ("webhook.cli.serve", "serve_command"),
    "token": ("webhook.cli.token", "token_group"),
}
"""Commands that are imported when they are called."""


class _Commands(click.Group):
    """The commands; what ends one early is a run that failed, never 'something was found'."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(ctx), *_MODULES])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if need be."""
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)
        module, name = _MODULES[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit with its status."""
        _stand_in_for_missing_streams()
        _write_every_character()
        with (
            contextlib.redirect_stdout(safe_stream(sys.stdout)),
            contextlib.redirect_stderr(safe_stream(sys.stderr)),
        ):
            self._run_and_exit(*args, **extra)

    def _run_and_exit(self, *args: Any, **extra: Any) -> Any:
        stdout = sys.stdout
        try:
            status = self._run(*args, **extra)
        except SystemExit:
            if sys.stdout is stdout:
                raise
            status = 2  # click has put it aside because nobody reads on, for which its status is 1
        except OSError as error:
            status = 2
            with contextlib.suppress(OSError):  # stderr may be what can't be written
                if error.errno in _UNWRITABLE:
                    click.echo(f"can't write the output: {error.strerror}", err=True)
                else:
                    traceback.print_exception(error)
        _drop_unwritten()
        sys.exit(status)

    def _run(self, *args: Any, **extra: Any) -> int:
        try:
            status = super().main(*args, **{**extra, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            return 2
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            return 2
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - a bug: the traceback is for its report
            click.echo(traceback.format_exc(), err=True, nl=False)
            return 2
        return status if isinstance(status, int) else 0


def _stand_in_for_missing_streams() -> None:
    """Open streams that the caller closed, so that no file gets their numbers; only what goes to stderr is lost."""
    for number, name, mode, flags in (
        (0, "stdin", "r", os.O_WRONLY),  # reading it fails
        (1, "stdout", "w", os.O_RDONLY),  # writing it fails
        (2, "stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            os.open(os.devnull, flags)  # gets the lowest number that is free: this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - open until the end


def _write_every_character() -> None:
    """Have a character that an output's encoding lacks escaped, instead of failing on it; ASCII becomes UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = "utf-8" if codecs.lookup(stream.encoding).name == "ascii" else None
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _drop_unwritten() -> None:
    """Have what can't be written dropped, rather than tried again when the process exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tokenguard")
def main() -> None:
    """End long-lived service account tokens: an admission webhook, and the same judgement offline."""


@main.group("policy")
def policy_group() -> None:
    """Look at a policy: is it sound, what does it say, what could it say."""


@policy_group.command("validate")
@click.argument("file", envvar="TOKENGUARD_POLICY", default=STDIN, metavar="[FILE|-]")
def policy_validate(file: str) -> None:
    """Find every mistake in a policy document, or in a ConfigMap that holds one.

    Exit status: 0 sound, 1 mistakes were found, 2 the file can't be read.
    """
    policy = read_policy(bytes_in(file))
    if isinstance(policy, Policy):
        click.echo(f"sound: policy {policy.revision}")
        return
    for problem in policy_problems(file, policy):
        click.echo(check_text.problem_line(problem))
    sys.exit(1)


@policy_group.command("show")
@click.argument("file", envvar="TOKENGUARD_POLICY", required=False, metavar="[FILE|-]")
@click.option("-n", "--namespace", metavar="NAME", help="Show what holds in this namespace alone.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of that namespace; may be repeated."
)
def policy_show(file: str | None, namespace: str | None, labels: tuple[str, ...]) -> None:
    """Print a policy with every default filled in; without FILE the default policy."""
    policy = policy_in(file)
    given = labels_given(labels)
    if labels and namespace is None:
        raise click.UsageError("--label goes with --namespace")
    values = policy_document(policy) if namespace is None else namespace_document(policy, namespace, given)
    click.echo(_yaml(values), nl=False)


def _yaml(values: Any) -> str:
    """Return values as YAML that `safe_text` leaves its meaning: what it escapes is in double quotes, on one line."""

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = None if safe_text(value) == value else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=2**20)


@policy_group.command("schema")
def policy_schema() -> None:
    """Print the JSON Schema of policy documents, for editors."""
    click.echo(json.dumps(schema.json_schema(), indent=2))


@main.command("rules")
@click.argument("name", required=False, metavar="[RULE]")
def rules_command(name: str | None) -> None:
    """List the rules, or explain one: when it is broken, why that matters, what to do about it."""
    if name is None:
        width = max(len(rule.name) for rule in RULES)
        for rule in RULES:
            click.echo(f"{rule.name:<{width}}  {rule.default:<6}  {rule.summary}")
        return
    if name not in BY_NAME:
        raise click.UsageError(f"there is no rule {quote(name)}{did_you_mean(name, BY_NAME)}")
    rule = BY_NAME[name]
    click.echo(f"{rule.name}\n\nBroken when {rule.summary}.\n")
    click.echo(f"looks at   {', '.join(sorted(rule.subjects))}")
    click.echo(f"by default {rule.default}")
    click.echo(f"may be     {', '.join(rule.actions)}\n\n{rule.explanation}")


@main.command("demo")
def demo() -> None:
    """Start the real server on the loopback, send it four real pods, show what happens to each, and stop it."""
    from webhook.demo.run import lines as demo_lines  # noqa: PLC0415 - loaded only if it is called
    from webhook.demo.server import DemoError  # noqa: PLC0415 - as above

    called = Path(sys.argv[0])
    module = [sys.executable, "-m", "webhook"]
    program = shlex.join(module if called.name == "__main__.py" else [str(called)])
    colour = False if os.environ.get("NO_COLOR") else None  # None: on a terminal alone
    try:
        for line in demo_lines(program):
            click.echo(line, color=colour)
    except DemoError as error:
        raise Failure(str(error)) from error
