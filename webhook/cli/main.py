"""The root command: loads the command that is called, prints its error and exits with its status.

A command returns its exit status: 0 clean, 1 something was found, 2 usage error or failed run. It raises
`click.ClickException` or `UserError` for an error; any other exception is a bug.
"""

import codecs
import contextlib
import io
import os
import re
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from webhook.cli.error_messages import error_lines
from webhook.core.formatting import quote
from webhook.core.safe_output import safe_stream

COMMANDS = (
    "audit",
    "certs",
    "check",
    "completion",
    "demo",
    "legacy",
    "migrate",
    "objects",
    "policy",
    "rules",
    "scan",
    "serve",
    "status",
    "token",
)
"""Each is `command` in the module of its name, which is imported when it is called."""
_LONG_OPTION = re.compile("--[a-z][a-z-]*")
_OPTION = re.compile("-[a-z]|--[a-z-]+")
_GIVE_VALUE = "give a value, or leave it out (is a variable not set?)"
_ASCII = {"\N{HORIZONTAL ELLIPSIS}": "...", "\N{RIGHTWARDS ARROW}": ">"}
_INTERRUPTED = 128 + signal.SIGINT
"""The exit status after Ctrl-C, as of a process that the signal ends."""
_READER_GONE = 128 + signal.SIGPIPE
"""The exit status if nobody reads the output any more (`| head -1`): that of kubectl and git, which the signal ends."""


class _Root(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS and name not in self.commands:
            self.add_command(import_module(f"webhook.cli.{name}").command)
        _raise_interrupts()  # imports have nothing to clean up
        return super().get_command(context, name)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not context.resilient_parsing:
            _refuse_empty(args)
        return super().parse_args(context, args)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        if Path(sys.argv[0]).stem == "kubectl-tokenguard":
            extra.setdefault("prog_name", "kubectl tokenguard")
        _replace_closed_streams()
        _escape_unencodable()
        status = _INTERRUPTED
        with (
            _ended_by_interrupts(),
            contextlib.redirect_stdout(safe_stream(sys.stdout)),
            contextlib.redirect_stderr(safe_stream(sys.stderr)),
        ):
            status = self._run(*args, **extra)
            _discard_unwritten()
        sys.exit(status)

    def _run(self, *args: Any, **extra: Any) -> int:
        stdout = sys.stdout
        try:
            status = super().main(*args, **{**extra, "standalone_mode": False})
        except SystemExit:
            if sys.stdout is stdout:
                raise
            return _READER_GONE  # click has replaced it, and would exit with 1
        except click.Abort as abort:
            if not isinstance(abort.__context__, EOFError):
                return _INTERRUPTED
            click.echo("error: standard input ended before an answer", err=True)
            return 2
        except Exception as error:  # noqa: BLE001 - the last resort
            with contextlib.suppress(OSError):  # of stderr
                for line in error_lines(error):
                    click.echo(line, err=True)
            return 2
        return status or 0


def _refuse_empty(arguments: list[str]) -> None:
    """Raise `click.UsageError` for an empty argument: most are from a variable that is not set.

    The message quotes only options: another argument may be a token.
    """
    before = ""
    for number, argument in enumerate(arguments, 1):
        name, separator, value = argument.partition("=")
        if separator and not value and _LONG_OPTION.fullmatch(name):
            raise click.UsageError(f"the value of {name} is empty; {_GIVE_VALUE}")
        if not argument:
            which = f"the argument after {quote(before)}" if _OPTION.fullmatch(before) else f"argument {number}"
            raise click.UsageError(f"{which} is empty; {_GIVE_VALUE}")
        before = argument


@contextlib.contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """End at once by Ctrl-C at the end, as at the beginning; what is printed after an interrupt is lost."""
    ends_at_once = signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        if ends_at_once:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _raise_interrupts() -> None:
    """Have Ctrl-C raise `KeyboardInterrupt` if it would end the process, so that a command can clean up."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        sys.unraisablehook = _ignore_interrupt
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ignore_interrupt(unraisable: "sys.UnraisableHookArgs") -> None:
    """Print no traceback for an interrupt in a callback of the interpreter."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def _replace_closed_streams() -> None:
    """Open standard streams that the caller closed, so that no file gets their numbers; only stderr may be lost."""
    for number, name, mode, flags in (
        (0, "stdin", "r", os.O_WRONLY),  # reading it fails
        (1, "stdout", "w", os.O_RDONLY),  # writing it fails
        (2, "stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            os.open(os.devnull, flags)  # gets the lowest free number: this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - open until the end


def _escape_unencodable() -> None:
    """Escape characters that the encoding of an output lacks, instead of failing; ASCII becomes UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = "utf-8" if codecs.lookup(stream.encoding).name == "ascii" else None
            stream.reconfigure(encoding=encoding, errors="tokenguard")


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII characters for those of our own texts that an encoding lacks, and escapes for others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    ascii_text = "".join(_ASCII.get(char) or char.encode("ascii", "backslashreplace").decode() for char in lacking)
    return ascii_text, error.end


codecs.register_error("tokenguard", _substitute)


def _discard_unwritten() -> None:
    """Discard what cannot be written: Python would try again at the end, and fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(
    cls=_Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}
)
@click.version_option(package_name="tokenguard-webhook")
def main() -> None:
    """Find and stop long-lived service account tokens in Kubernetes.

    serve is the admission webhook; check and scan evaluate the same rules on manifests and on a live cluster.

    \b
    Exit status (the help of each command has the details):
      0    clean, or done
      1    something was found or refused
      2    usage error or failed run
      130  interrupted by Ctrl-C
      141  the program that reads the output has exited, as in '| head -1'

    Options have environment variables, which the help of each command names. An option on the command line overrides
    its variable. An empty variable counts as not set; an empty argument is a usage error. NO_COLOR and FORCE_COLOR
    switch colours off and on.
    """
