"""The audit log's lines as JSON Schema: what a collector may rely on."""

from typing import Any

import msgspec

from webhook.audit.record_types import Record

VERSION = 1
"""Changes when a key goes or comes to mean something else; a line then says which it is. New keys may come without."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a line."""
    (described,), kinds = msgspec.json.schema_components([Record], ref_template="#/$defs/{name}")
    name = described["$ref"].rpartition("/")[2]
    line = kinds.pop(name)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:tokenguard:audit-line:{VERSION}",
        **line,
        "title": f"a line of tokenguard's audit log, version {VERSION}",
        "properties": {key: _never_null(value) for key, value in line["properties"].items()},
        "$defs": kinds,
    }


def _never_null(value: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of a key whose value, where it has none, is left out of the line."""
    if "anyOf" not in value:
        return value
    kind: dict[str, Any]
    (kind,) = (one for one in value["anyOf"] if one != {"type": "null"})
    return {key: said for key, said in value.items() if key not in {"anyOf", "default"}} | kind
