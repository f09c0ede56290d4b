"""A scan's report as JSON, for programs, and the JSON Schema of that; `version` changes when a key changes or goes.

Both follow from the report's own types: a key is a field's name in camelCase, and what a class says of its fields is
the schema's description.
"""

import dataclasses
import datetime as dt
import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

from webhook.scan.report import OutcomeCounts, Owner, ScanReport

VERSION = 1
DERIVED: dict[type, dict[str, type]] = {
    kind: {name: typing.get_type_hints(getattr(kind, name).fget)["return"] for name in names}
    for kind, names in (
        (Owner, ("pod_count", "outcome", "simulated_outcome", "change")),
        (OutcomeCounts, ("all",)),
        (ScanReport, ("exit_status",)),
    )
}
"""What isn't a field, but follows from fields, and is told beside them."""
_SCALARS = {str: "string", int: "integer", bool: "boolean"}


def pieces(report: ScanReport) -> Iterator[str]:
    """Yield the report as JSON, piece by piece: a large cluster's takes much more memory as a whole than its report.

    Every member of the report has a line of its own, and so has every element of its lists.
    """
    yield f'{{\n "version": {VERSION}'
    for name in _names(ScanReport):
        found = getattr(report, name)
        yield f",\n {_dumped(_camel(name))}: "
        if isinstance(found, tuple):
            yield "["
            for number, one in enumerate(found):
                yield f"{',' if number else ''}\n  {_dumped(_value(one))}"
            yield "]"
        else:
            yield _dumped(_value(found))
    yield "\n}\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `pieces` yields."""
    definitions: dict[str, Any] = {}
    _schema_of(ScanReport, definitions)
    root = definitions.pop(ScanReport.__name__)
    root["properties"] = {"version": {"const": VERSION}} | root["properties"]
    root["required"] = ["version", *root["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"tokenguard scan --output json, version {VERSION}",
        **root,
        "$defs": definitions,
    }


_dumped = json.JSONEncoder(ensure_ascii=False).encode


def _names(kind: type) -> Iterable[str]:
    return (*(field.name for field in dataclasses.fields(kind)), *DERIVED.get(kind, ()))


def _value(found: Any) -> Any:
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        return {_camel(name): _value(getattr(found, name)) for name in _names(type(found))}
    if isinstance(found, tuple):
        return [_value(one) for one in found]
    if isinstance(found, dt.datetime):
        return found.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return found.isoformat() if isinstance(found, dt.date) else found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _description(kind: type) -> str:
    """Return what a class says of itself, in JSON's words."""
    said = " ".join((inspect.getdoc(kind) or "").split())
    return re.sub(r"`(\w+)`", lambda name: f"`{_camel(name[1])}`", said).replace("None", "null")


def _schema_of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return what a value of a type looks like; what has fields goes among the definitions."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        [one] = [part for part in parts if part is not types.NoneType]
        return {"anyOf": [_schema_of(one, definitions), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(parts[0], definitions)}
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if kind in (dt.datetime, dt.date):
        return {"type": "string", "format": "date-time" if kind is dt.datetime else "date"}
    if issubclass(kind, StrEnum):
        return {"enum": [one.value for one in kind]}
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # so that it isn't begun again within itself
        hints = typing.get_type_hints(kind) | DERIVED.get(kind, {})
        properties = {_camel(name): _schema_of(hints[name], definitions) for name in _names(kind)}
        definitions[kind.__name__] = {
            "description": _description(kind),
            "type": "object",
            "properties": properties,
            "required": list(properties),
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}
