"""The `audit` commands: what the audit log's lines are, and what many of them tell."""

import datetime as dt
import json
import stat
import sys
from pathlib import Path
from typing import BinaryIO

import click

from webhook.audit.merge import LogSource, merge_logs
from webhook.audit.schema import schema
from webhook.audit.summary import Summary
from webhook.check.input_files import STDIN, displayed
from webhook.commands import Failure
from webhook.core.safe_output import safe_json
from webhook.formatters import audit_json, audit_text
from webhook.formatters.progress import Progress

_UNWRAP = (
    "if records are wrapped in other JSON, unwrap them first: jq -c '.. | (objects, (strings | fromjson? | objects)) | "
    'select(.kind? == "Event" and .auditID?)\' FILE | tokenguard audit summarize -'
)
_DAY = click.DateTime(["%Y-%m-%d"])


@click.group("audit")
def audit_group() -> None:
    """Read audit logs: tokenguard's own, and the API server's."""


@audit_group.command("schema")
def audit_schema() -> None:
    """Print the JSON Schema of the lines of tokenguard's audit log."""
    click.echo(json.dumps(schema(), indent=2))


@audit_group.command("summarize")
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@click.option("--since", type=_DAY, metavar="DAY", help="The first day that counts, as 2026-11-24 (UTC).")
@click.option("--until", type=_DAY, metavar="DAY", help="The last day that counts.")
@click.option("--rows", type=click.IntRange(min=1), default=10, show_default=True,
              help="How much of each table to show; JSON has all.")  # fmt: skip
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="How it is told.")  # fmt: skip
def audit_summarize(
    files: tuple[str, ...], since: dt.datetime | None, until: dt.datetime | None, rows: int, output: str
) -> None:
    """Tell who was denied, patched, warned or exempted, by rule, namespace, account and day; and whose tokens are old.

    Of tokenguard's log and the API server's (audit.k8s.io/v1), mixed as you like, plain or gzip; - is standard input.
    Records may be JSON lines or pretty-printed, in an array or an EventList, as CloudWatch, Azure diagnostic settings
    and GKE's Cloud Logging (as JSON) wrap them, and behind what kubectl logs or oc adm node-logs puts before a line.
    Give each replica's log as a file of its own: they are put in order by their times. The API server's names the
    accounts whose clients still use tokens past their hour, which would break once the API server's token is capped,
    and those that use legacy tokens. Each of the two logs reports decisions by itself. A pod that both webhooks
    speak of counts once, by what became of it, and dry runs apart: denied; patched; warned; noted, which is let through
    but breaks a rule; exempted, which may come on top. Lines that can't be read are counted and the first few named.

    Exit status: 0 nobody was denied and no client uses such tokens, 1 somebody was or does, 2 a file can't be read to
    its end, or none holds a line of either log.
    """
    if since and until and since > until:
        raise click.UsageError("--since is after --until")
    summary = Summary(since.date() if since else None, until.date() if until else None)
    stats = summary.stats
    files = tuple(dict.fromkeys(files))
    logs = [_log(path) for path in files]
    size = sum(_size(path) for path in files) if STDIN not in files else 0
    taken = 0

    def read(count: int) -> None:
        nonlocal taken
        taken += count

    with Progress(sys.stderr) as progress:
        summary.read(merge_logs(logs, stats, read), lambda: progress.step(_far(taken, size, stats.lines)))
    for at, why in [*stats.named, *stats.unread]:
        click.echo(f"{at}: {why}", err=True)
    if stats.broken > len(stats.named):
        more = stats.broken - len(stats.named)
        click.echo(f"and {more} more line{'s' * (more != 1)} that can't be read", err=True)
    if stats.lines and not (stats.tokenguard or stats.apiserver or stats.unread):
        raise Failure(f"nothing here is a record of tokenguard's audit log or of the API server's; {_UNWRAP}")
    if output == "json":
        click.echo(safe_json(audit_json.text(summary, len(logs))).encode())
    else:
        for line in audit_text.lines(summary, len(logs), rows):
            click.echo(line)
    sys.exit(2 if stats.unread else int(summary.found))


def _log(path: str) -> LogSource:
    return LogSource(displayed(path), lambda: _opened(path), again=path != STDIN and bool(_size(path)))


def _opened(path: str) -> BinaryIO:
    return sys.stdin.buffer if path == STDIN else Path(path).open("rb")


def _size(path: str) -> int:
    """Return the size of a regular file, in bytes; 0 for anything else."""
    try:
        found = Path(path).stat()
    except OSError:
        return 0  # reading it will tell why
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _far(taken: int, size: int, lines: int) -> str:
    share = f"{min(100 * taken // size, 100)} %, " if size else ""
    return f"reading: {share}{taken >> 20} MiB, {lines} lines"
