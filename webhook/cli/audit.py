"""The `audit` commands: the JSON Schema of tokenguard's audit log, and summaries of audit logs."""

import datetime as dt
import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import click

from webhook.audit.merge import LogSource, ReadStats, merge_logs
from webhook.audit.record_types import schema
from webhook.audit.summary import AuditSummary
from webhook.check.input_files import STDIN, displayed
from webhook.cli.common import FILE, Parsed, output_option
from webhook.core.formatting import counted, quote
from webhook.formatters import audit_json, audit_text
from webhook.formatters.formatter import FormatOptions, Formatter, print_report
from webhook.formatters.progress import Progress

FORMATTERS: Mapping[str, Formatter[AuditSummary]] = {
    "text": audit_text.format_summary,
    "json": audit_json.format_summary,
}
_NO_ENTRIES = (
    "no entry of tokenguard's or the API server's audit log; if entries are wrapped in other JSON, unwrap them first: "
    "jq -c '.. | (objects, (strings | fromjson? | objects)) | "
    'select(.kind? == "Event" and .auditID?)\' FILE | tokenguard audit summarize -'
)


def _day(value: str) -> dt.date:
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{quote(value)} is not a day like 2026-11-24") from None


_DAY = Parsed("DAY", _day)


@click.group("audit")
def command() -> None:
    """Summarize audit logs of tokenguard and the API server."""


@command.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of tokenguard's audit log."""
    click.echo(json.dumps(schema(), indent=2))


@command.command("summarize")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE|-...")
@click.option("--since", type=_DAY, metavar="DAY", help="First day to count, like 2026-11-24 (UTC). Default: all days.")
@click.option("--until", type=_DAY, metavar="DAY", help="Last day to count (UTC). Default: all days.")
@click.option("--rows", type=click.IntRange(min=1), default=10, metavar="NUMBER",
              help="Maximum number of rows of each table in text output; JSON has all rows.")  # fmt: skip
@output_option(FORMATTERS)
def summarize(files: tuple[str, ...], since: dt.date | None, until: dt.date | None, rows: int, output: str) -> int:
    """Count decisions and find long-lived tokens in use.

    FILE is a log of tokenguard or of the API server (audit.k8s.io/v1), plain or gzip; - is standard input. Pass the log
    of each replica as a separate file, in any order.

    Shows the denied, patched, warned and exempted requests by rule, namespace, account, day and exemption. Lists the
    accounts whose clients use legacy tokens or stale tokens. A stale token is one that is used after the lifetime it
    was requested for: its client will break when the API server token is capped. Also lists who uses disabled legacy
    tokens.

    A pod that both webhooks evaluated counts once, unless a file contains the logs of several replicas. Dry runs are
    counted separately, and so are the two kinds of logs. "audited" requests were allowed with findings that only the
    audit log shows. "exempted" requests used an exemption; another column may count them, too.

    Reads JSON lines, pretty-printed JSON, arrays, EventLists, exports of CloudWatch, Azure and Google Cloud Logging,
    and the output of kubectl logs and oc adm node-logs.

    \b
    Example, with a file for each replica:
      for pod in $(kubectl get pods -n tokenguard -o name); do
        kubectl logs -n tokenguard $pod > ${pod#pod/}.log
      done
      tokenguard audit summarize tokenguard-*.log

    Exit status: 0 no finding; 1 a request was denied, or a stale, legacy or disabled token was used; 2 a file cannot be
    read completely, or no file contains an entry of either log.
    """
    if since and until and since > until:
        raise click.UsageError("--since is later than --until")
    summary = AuditSummary(since, until)
    read_logs(files, summary)
    print_report(FORMATTERS, output, summary, FormatOptions(rows=rows))
    return 2 if summary.stats.unreadable_logs else int(summary.has_findings)


def read_logs(files: tuple[str, ...], summary: AuditSummary) -> None:
    """Count the entries of logs; print what cannot be read.

    Raises `click.ClickException` if there are lines, and none is an entry.
    """
    stats = summary.stats
    files = tuple(dict.fromkeys(files))
    size = sum(_size(path) for path in files) if STDIN not in files else 0
    bytes_read = 0

    def read(count: int) -> None:
        nonlocal bytes_read
        bytes_read += count

    with Progress(sys.stderr) as progress:
        entries = merge_logs([_log(path) for path in files], stats, read)
        summary.read(entries, lambda: progress.step(_progress(bytes_read, size, stats.lines)))
    _print_unreadable(stats)
    if stats.lines and not (stats.tokenguard or stats.apiserver or stats.unreadable_logs):
        raise click.ClickException(_NO_ENTRIES)


def _print_unreadable(stats: ReadStats) -> None:
    unread = [("warning", stats.unreadable_lines), ("error", stats.unreadable_logs)]
    for word, (where, reason) in ((word, problem) for word, problems in unread for problem in problems):
        click.echo(f"{word}: {where}: {reason}", err=True)
    more = stats.unreadable - len(stats.unreadable_lines)
    if more:
        click.echo(f"warning: {counted(more, 'more unreadable line')}", err=True)


def _log(path: str) -> LogSource:
    return LogSource(displayed(path), lambda: _open(path), reopenable=path != STDIN and bool(_size(path)))


def _open(path: str) -> BinaryIO:
    return sys.stdin.buffer if path == STDIN else Path(path).open("rb")


def _size(path: str) -> int:
    """Return the size of a regular file in bytes; 0 for anything else."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0  # reported when it is read
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _progress(bytes_read: int, size: int, lines: int) -> str:
    share = f"{min(100 * bytes_read // size, 100)} %, " if size else ""
    return f"reading: {share}{bytes_read >> 20} MiB, {lines} lines"
