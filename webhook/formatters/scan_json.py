"""A scan as JSON, and its JSON Schema; `version` changes when a key changes its meaning or is removed."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import msgspec

from webhook.core.safe_output import safe_json
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.json_schema import report_schema
from webhook.scan.report import ScanReport

VERSION = 2


def format_report(report: ScanReport, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as JSON; every member has a line of its own, and so has every element of its lists."""
    yield f'{{\n "version": {VERSION},\n "toolVersion": {_encoded(version("tokenguard-webhook"))}'
    for field in msgspec.structs.fields(ScanReport):
        value = getattr(report, field.name)
        yield f',\n "{field.encode_name}": '
        if isinstance(value, tuple):
            yield "["
            for number, element in enumerate(value):
                yield f"{',' if number else ''}\n  {_encoded(element)}"
            yield "]"
        else:
            yield _encoded(value)
    yield "\n}\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the report."""
    return report_schema(ScanReport, "scan", VERSION)


def _encoded(value: Any) -> str:
    return safe_json(msgspec.json.encode(value).decode())
