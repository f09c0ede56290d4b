"""Legacy Secrets and plans as JSON; `version` changes when a key changes its meaning or is removed."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import msgspec

from webhook.formatters import json_schema
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


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of the report."""
    return json_schema.report_schema(LegacyReport, "legacy list", VERSION)


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema of a plan and what was done of it."""
    return json_schema.report_schema(ExecutedPlan, "legacy disable|restore|delete", VERSION)


def _document(report: Any) -> str:
    head = {"version": VERSION, "toolVersion": version("tokenguard-webhook")}
    return format_json({**head, **msgspec.to_builtins(report)})
