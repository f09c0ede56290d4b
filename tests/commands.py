"""The command line, called in the test's own process: a process takes half a second of CPU to start."""

import os
import subprocess

from click.testing import CliRunner

from webhook.cli import main


def run_command(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run tokenguard, without the environment variables that give it options."""
    options: dict[str, str | None] = dict.fromkeys(name for name in os.environ if name.startswith("TOKENGUARD_"))
    done = CliRunner().invoke(main, arguments, input=stdin, env=options)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)
