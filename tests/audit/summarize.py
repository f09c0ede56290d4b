"""Calls `tokenguard audit summarize` in this process."""

import json

from click.testing import CliRunner

from webhook.cli import main


def run(*arguments, stdin: bytes = b""):
    return CliRunner().invoke(main, ["audit", "summarize", *map(str, arguments)], input=stdin)


def summarized(*arguments, stdin: bytes = b"", status: int | None = None):
    """Return the JSON summary; `status` is the expected exit status."""
    done = run("--output", "json", *arguments, stdin=stdin)
    assert status is None or done.exit_code == status, done.output
    return json.loads(done.stdout)
