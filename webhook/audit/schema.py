"""The JSON Schema of tokenguard's audit log, generated from `Record`."""

from typing import Any

import msgspec

from webhook.audit.record_types import Record

VERSION = 1
"""Changes when a key is removed or changes its meaning, and is then written into each record."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a line."""
    _, definitions = msgspec.json.schema_components([Record], ref_template="#/$defs/{name}")
    record = definitions.pop(Record.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:tokenguard:audit-line:{VERSION}",
        **record,
        "title": f"tokenguard audit record, version {VERSION}",
        "$defs": definitions,
    }
