"""The JSON Schemas of reports whose JSON has the members of a `Struct` after its version."""

from typing import Any

import msgspec


def report_schema(report: type[msgspec.Struct], command: str, version: int) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what a command prints with `--output json`."""
    schema = msgspec.json.schema(report)
    root = schema["$defs"].pop(report.__name__)
    tool = {"type": "string", "description": "The version of tokenguard."}
    root["properties"] = {"version": {"const": version}, "toolVersion": tool} | root["properties"]
    root["required"] = ["version", "toolVersion", *root["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": f"tokenguard {command} --output json, version {version}",
        "$defs": schema["$defs"],
    }
