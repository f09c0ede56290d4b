"""The progress line: for a person at a terminal, in a long run, and gone afterwards."""

import io
import itertools
import os

import pytest

from webhook.core.safe_output import safe_stream
from webhook.formatters.progress import Progress

pty = pytest.importorskip("pty", reason="needs a terminal")


def on_terminal(times: list[float]) -> str:
    """Return what a terminal gets when the clock, read again and again, shows these times."""
    ours, theirs = pty.openpty()
    clock = itertools.chain(times, itertools.repeat(times[-1]))
    with os.fdopen(theirs, "w") as stream:
        with Progress(safe_stream(stream), clock=lambda: next(clock)) as progress:
            for number in range(1, len(times)):
                progress.step(f"file {number}")
        stream.write("end")
        stream.flush()
        written = ""
        while not written.endswith("end"):
            written += os.read(ours, 4096).decode()
    os.close(ours)
    return written


def test_progress_short_run_shows_nothing() -> None:
    assert on_terminal([0, 0.2, 0.9]) == "end"


def test_progress_long_run_is_shown_and_cleared() -> None:
    assert on_terminal([0, 0.5, 1.0, 1.05, 1.2]) == "\r\x1b[Kfile 2 ...\r\x1b[Kfile 4 ...\r\x1b[Kend"


def test_progress_failed_run_is_cleared() -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    clock = iter([0.0, 2.0])

    def run() -> None:
        with Progress(stream, clock=lambda: next(clock)) as progress:
            progress.step("file 1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert stream.getvalue() == "\r\x1b[Kfile 1 ...\r\x1b[K"


def test_progress_is_not_written_to_a_file() -> None:
    stream = io.StringIO()
    clock = itertools.count(0, 10)
    with Progress(stream, clock=lambda: float(next(clock))) as progress:
        progress.step("file 1")
    assert stream.getvalue() == ""
