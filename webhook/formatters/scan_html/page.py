"""The page: puts the parts together and lets nothing in it call anywhere, whatever a name in the cluster says."""

import base64
import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files

import jinja2

from webhook.core.decision import Outcome
from webhook.formatters import scan_figures as figures
from webhook.formatters.scan_html import charts, tables
from webhook.formatters.scan_html.elements import WIDEST
from webhook.formatters.scan_summary import about, changed, looked_at, state, told_of
from webhook.scan.report import ScanReport

_HERE = files(__package__)
_VERDICTS = {0: "allowed", 1: "denied", 2: "warned"}
_PARTS_AT_ONCE = 500


def pieces(report: ScanReport) -> Iterator[str]:
    """Yield the page, piece by piece: a large cluster's would take much memory as a whole."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    stream = environment.from_string((_HERE / "page.html").read_text("utf-8")).stream(
        style=style,
        script=script,
        content_security_policy="; ".join((
            "default-src 'none'",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        )),
        report=report,
        version=version("tokenguard"),
        verdict=_VERDICTS[report.exit_status],
        headline=headline(report),
        about=[*about(report)],
        state=[*(changed(report) if report.simulated else ()), *state(report)],
        charts=charts,
        tables=tables,
        widest=WIDEST,
    )  # fmt: skip
    stream.enable_buffering(_PARTS_AT_ONCE)
    yield from stream


def headline(report: ScanReport) -> str:
    """Return in a sentence what would be rejected, and in others what was looked at and is told alone."""
    told = []
    for what, now, simulated in figures.outcomes(report):
        counts = simulated if report.simulated and simulated else now
        if counts.denied:
            told.append(f"{counts.denied} of {counts.all} {what.partition(',')[0]}")
    under = " under the simulated policy" if report.simulated else ""
    unsure = ", as far as could be read" if any(one.affects_decisions for one in report.unread) and not told else ""
    what = ", ".join(told) or "Nothing"
    sentences = [f"{what} would be {figures.OUTCOMES[Outcome.DENIED]}{under} if created again{unsure}."]
    if alone := looked_at(report.filters):
        sentences.append(f"Looked at alone: {alone}.")
    if alone := told_of(report.filters):
        sentences.append(f"Told alone: {alone}.")
    return " ".join(sentences)


def _hash(text: str) -> str:
    """Return what a Content-Security-Policy knows a text in the page by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
