"""What all output formats have in common: the `Formatter` protocol, and printing what a formatter yields."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from tempfile import SpooledTemporaryFile
from typing import Any, Protocol, TextIO, TypeVar

import click
import msgspec

from webhook.core.safe_output import safe_json
from webhook.formatters.progress import Progress

_MAX_IN_MEMORY = 1 << 22
"""Bytes; a larger output waits in a temporary file."""
R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """How to show a report.

    With colours, in lines of `width` columns (0: as long as they are), with details that are usually hidden, without
    warnings and summary or with the summary alone, with so many rows a table (0: all), with links to the checklists of
    `migrate` at this path or URL (empty: none).
    """

    colour: bool = False
    width: int = 0
    verbose: bool = False
    quiet: bool = False
    summary: bool = False
    rows: int = 0
    checklists: str = ""


LINE_FORMATS = frozenset({"text", "concise", "table"})
"""Formats that are lines for people; all others are for programs."""
WITH_PROBLEMS = LINE_FORMATS | {"github"}
"""Formats that people read in a log and that have the errors in it; others are documents, and errors go to stderr."""

DEFAULT_OPTIONS = FormatOptions()


class Formatter(Protocol[R_contra]):
    """Shows a report in one format."""

    def __call__(self, report: R_contra, options: FormatOptions = DEFAULT_OPTIONS, /) -> Iterator[str]:
        """Yield the output in pieces, so that a large report is never one string; for text, lines without line ends."""


def format_json(document: dict[str, Any]) -> str:
    """Return a document as indented JSON without unsafe characters; times and dates as RFC 3339."""
    return safe_json(json.dumps(document, indent=2, ensure_ascii=False, default=msgspec.to_builtins)) + "\n"


def uses_colour(stream: TextIO) -> bool:
    """Return whether to colour: on a terminal, or as NO_COLOR and FORCE_COLOR say (no-color.org, force-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def on_stream(options: FormatOptions, stream: TextIO) -> FormatOptions:
    """Return the options with the colours and the width of a stream."""
    width = shutil.get_terminal_size().columns if stream.isatty() else 0
    return replace(options, colour=uses_colour(stream), width=width)


def _with_progress(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the pieces of an output that waits until it is complete, with a progress line meanwhile."""
    with Progress(sys.stderr, delay=0.3) as progress:
        for piece in pieces:
            progress.step("writing the output")
            yield piece


def print_report(
    formatters: Mapping[str, Formatter[R]],
    output: str,
    report: R,
    options: FormatOptions = DEFAULT_OPTIONS,
    *,
    err: bool = False,
) -> None:
    """Print a report in the format `output`, to stdout or to stderr.

    Text goes through the safe streams of the command line; other formats escape unsafe characters themselves. Nothing
    is written to a file or a pipe before all of the output is there, so that Ctrl-C leaves no half of it.
    """
    stream = sys.stderr if err else sys.stdout
    if output in LINE_FORMATS:
        options = on_stream(options, stream)
        lines = formatters[output](report, options)
        for line in lines if stream.isatty() else [*_with_progress(lines)]:
            click.echo(line, err=err, color=options.colour)
        return
    stream.flush()
    with SpooledTemporaryFile(_MAX_IN_MEMORY) as whole:
        for piece in _with_progress(formatters[output](report, options)):
            whole.write(piece.encode(errors="replace"))
        whole.seek(0)
        shutil.copyfileobj(whole, stream.buffer)
    stream.buffer.flush()
