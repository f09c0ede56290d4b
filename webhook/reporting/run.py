"""One run of `tokenguard check`: reads, judges and tells."""

import datetime as dt
import os
import sys

import click

from webhook.core.policy.model import Policy
from webhook.core.safe_output import safe_json
from webhook.reporting import as_json, as_text, fix, sarif
from webhook.reporting.check import Report, check
from webhook.reporting.files import STDIN, Trouble, find
from webhook.reporting.options import CheckOptions
from webhook.reporting.progress import Progress


def run(options: CheckOptions, policy: Policy, now: dt.datetime) -> int:
    """Judge what the options name by the policy at the time `now` (aware), tell of it, and return the exit status."""
    stdin = sys.stdin.buffer
    if not options.paths and stdin.isatty():
        raise click.UsageError("give a file, a folder, or - for standard input")
    with Progress(sys.stderr) as progress:
        report = check(
            find(options.paths or (STDIN,), options.exclude),
            policy,
            now=now,
            namespace=options.namespace,
            stdin=stdin,
            step=progress.step,
        )
    written = fix.documents(report) if options.fix else ()
    if not isinstance(written, Trouble):
        for document in written:
            click.echo(document.encode(), nl=False)
    _tell(report, options)
    if options.fix:
        _tell_what_was_fixed(report, written)
    return 2 if isinstance(written, Trouble) else report.exit_status


def _tell_what_was_fixed(report: Report, written: tuple[str, ...] | Trouble) -> None:
    """Say on stderr which of the manifests on stdout are new, and which nobody looked at."""
    if isinstance(written, Trouble):
        click.echo(as_text.trouble_line(written), err=True)
        return
    for trouble in (*report.troubles, *report.skipped):
        if trouble.document is not None:
            click.echo(as_text.trouble_line(trouble, "note", "; not looked at, given back as it was"), err=True)
    if changed := fix.changed(report):
        documents = "1 document" if changed == 1 else f"{changed} documents"
        click.echo(f"{documents} changed; comments and layout are lost there", err=True)


def _tell(report: Report, options: CheckOptions) -> None:
    """Write the report to stdout, or to stderr where stdout is taken by the manifests."""
    if options.output == "text":
        stream = sys.stderr if options.fix else sys.stdout
        colour = stream.isatty() and not os.environ.get("NO_COLOR")
        for line in as_text.lines(report, verbose=options.verbose, colour=colour):
            click.echo(line, err=options.fix)
        return
    write = as_json.text if options.output == "json" else sarif.text
    click.echo(safe_json(write(report, verbose=options.verbose)).encode(), err=options.fix)
    if not options.fix:
        for trouble in report.troubles:
            click.echo(as_text.trouble_line(trouble), err=True)
        for warning in report.warnings:
            click.echo(as_text.trouble_line(warning, "warning"), err=True)
