"""The root command: loads the command that is called, prints its error and exits with its status.

A command returns its exit status: 0 clean, 1 something was found, 2 usage error or failed run. It raises
`click.ClickException` or `UserError` for an error; any other exception is a bug.
"""

import codecs
import contextlib
import errno
import io
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from webhook.core.errors import UserError
from webhook.core.safe_output import safe_stream

COMMANDS = (
    "audit",
    "certs",
    "check",
    "completion",
    "demo",
    "legacy",
    "objects",
    "policy",
    "rules",
    "scan",
    "serve",
    "status",
    "token",
)
"""Each is `command` in the module of its name, which is imported when it is called."""
_UNWRITABLE = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE}


class _Root(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS and name not in self.commands:
            self.add_command(import_module(f"webhook.cli.{name}").command)
        return super().get_command(context, name)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        if Path(sys.argv[0]).stem == "kubectl-tokenguard":
            extra.setdefault("prog_name", "kubectl tokenguard")
        _replace_closed_streams()
        _escape_unencodable()
        with (
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
            return 2  # click has replaced it because its reader is gone, and would exit with 1
        except Exception as error:  # noqa: BLE001 - the last resort
            with contextlib.suppress(OSError):  # of stderr
                _print_error(error)
            return 2
        return status or 0


def _print_error(error: Exception) -> None:
    if isinstance(error, click.ClickException):
        error.show()
    elif isinstance(error, UserError):
        click.echo(f"Error: {error}", err=True)
    elif isinstance(error, click.Abort):
        click.echo("interrupted", err=True)
    elif isinstance(error, OSError) and error.errno in _UNWRITABLE:
        click.echo(f"cannot write the output: {error.strerror}", err=True)
    else:
        traceback.print_exception(error)
        click.echo("This is a bug in tokenguard: please report it with the lines above.", err=True)


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
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


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
    Exit status of every command:
      0  clean
      1  something was found
      2  usage error or failed run
    """
