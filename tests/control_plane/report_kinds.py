"""CustomResourceDefinitions of policy reports, cut down to the fields that tokenguard writes.

The definitions of the two groups have these fields with these types, enumerations and requirements, and more.
"""

from typing import Any

from webhook.scan.report_api import ReportApi

Object = dict[str, Any]
_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_REFERENCE = {
    "type": "object",
    "properties": dict.fromkeys(
        ("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"), _TEXT
    ),
}
_RESULT = {
    "type": "object",
    "required": ["policy"],
    "properties": {
        **dict.fromkeys(("source", "policy", "rule", "category", "message"), _TEXT),
        "severity": {"type": "string", "enum": ["critical", "high", "low", "medium", "info"]},
        "result": {"type": "string", "enum": ["pass", "fail", "warn", "error", "skip"]},
        "scored": {"type": "boolean"},
        "timestamp": {
            "type": "object",
            "required": ["nanos", "seconds"],
            "properties": {"nanos": {**_NUMBER, "format": "int32"}, "seconds": {**_NUMBER, "format": "int64"}},
        },
        "resources": {"type": "array", "items": _REFERENCE},
        "properties": {"type": "object", "additionalProperties": _TEXT},
    },
}


def definitions(api: ReportApi) -> list[Object]:
    """Return the definitions of both kinds of a group."""
    fields: Object = {
        "scope": _REFERENCE,
        "summary": {"type": "object", "properties": dict.fromkeys(("error", "fail", "pass", "skip", "warn"), _NUMBER)},
        "results": {"type": "array", "items": _RESULT},
    }
    if api.group == "openreports.io":
        fields["source"] = _TEXT
    schema = {"openAPIV3Schema": {"type": "object", "properties": fields}}
    return [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": f"{kind.lower()}s.{api.group}",
                "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},
            },
            "spec": {
                "group": api.group,
                "scope": scope,
                "names": {"plural": f"{kind.lower()}s", "kind": kind},
                "versions": [{"name": api.version, "served": True, "storage": True, "schema": schema}],
            },
        }
        for kind, scope in ((api.kind, "Namespaced"), (api.cluster_kind, "Cluster"))
    ]
