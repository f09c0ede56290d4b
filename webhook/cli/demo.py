"""The `demo` command."""

import os
import shlex
import sys
from pathlib import Path

import click

from webhook.demo.story import lines


@click.command("demo")
def command() -> None:
    """Show decisions about four pods with a local server.

    Starts the webhook on the loopback interface, sends it recorded reviews of four pods, shows the decisions, and
    stops. Needs no cluster and changes nothing.
    """
    called = Path(sys.argv[0])
    module = [sys.executable, "-m", "webhook"]
    program = shlex.join(module if called.name == "__main__.py" else [str(called)])
    colour = False if os.environ.get("NO_COLOR") else None  # None: on a terminal only
    for line in lines(program):
        click.echo(line, color=colour)
