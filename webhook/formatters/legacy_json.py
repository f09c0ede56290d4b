"""Legacy Secrets and plans as JSON; `version` changes when a key changes its meaning or is removed."""

from collections.abc import Iterator
from typing import Any

import msgspec

from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json
from webhook.legacy.plan import ExecutedPlan
from webhook.legacy.report import LegacyReport

VERSION = 1


def format_report(report: LegacyReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report."""
    yield _document(report)


def format_plan(executed: ExecutedPlan, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield a plan, and what was done of it."""
    yield _document(executed)


def _document(found: Any) -> str:
    return format_json({"version": VERSION, **msgspec.to_builtins(found)})
