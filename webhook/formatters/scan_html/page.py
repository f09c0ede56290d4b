"""A scan as a page: one file that loads nothing and runs nothing but its own script, whatever names it contains."""

import base64
import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files

import jinja2

from webhook.formatters import scan_summary as summary
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.scan_enforcement import is_weakened
from webhook.formatters.scan_html import charts, tables
from webhook.formatters.scan_html.elements import MAX_WIDTH, breakable
from webhook.scan.report import ScanReport

_FOLDER = files(__package__)
_STATUS = {0: "allowed", 1: "denied", 2: "warned"}
_BUFFERED_PIECES = 500


def format_report(report: ScanReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the page."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["breakable"] = breakable
    style, script = map(_read, ("page.css", "page.js"))
    names = {"policy": "current policy", "simulated": "simulated policy"} if report.simulated else {}
    about = [(names.get(name, name), text) for name, text in summary.scan_fields(report)]
    changes = [("workloads", summary.workload_changes(report))] if report.simulated else []
    stream = environment.get_template("page.html").stream(
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
        checklists=options.checklists,
        version=version("tokenguard-webhook"),
        status=_status(report),
        headline=summary.headline(report),
        about=[*about, ("version", f"tokenguard {version('tokenguard-webhook')}")],
        state=[*changes, *summary.state_fields(report)],
        charts=charts,
        tables=tables,
        max_width=MAX_WIDTH,
    )  # fmt: skip
    stream.enable_buffering(_BUFFERED_PIECES)
    yield from stream


def _status(report: ScanReport) -> str:
    """Return the colour of the headline: that of a warning, too, if only Secrets are denied, or not all is enforced."""
    return _STATUS[2 if is_weakened(report) and not report.exit_status else report.exit_status]


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    """Return the source expression of a text for a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
