"""What the author of a document means it to be: a Kubernetes object, a template of one, or something else.

A repository holds many files of YAML and JSON that Kubernetes never reads. One of them is no reason for a run to fail.
"""

import re
from collections.abc import Mapping
from typing import Any

from webhook.core.documents.document import DocumentError, Problem

RENDERING = "helm template CHART | tokenguard check -"
"""How a template is evaluated: by what it renders to."""
TOOL_FILES: Mapping[tuple[str, str], str] = {
    ("", "Config"): "kubectl",
    ("kustomize.config.k8s.io", "Component"): "kustomize",
    ("kustomize.config.k8s.io", "Kustomization"): "kustomize",
}
"""Kinds of files that look like objects but are never sent to the API server, and what reads them."""

_KEYS = ("apiVersion", "kind")
_BLOCK_KEYS = [re.compile(rf"^[\"']?{key}[\"']?[ \t]*:", re.MULTILINE) for key in _KEYS]
_FLOW_KEYS = [re.compile(rf"[{{,\s][\"']?{key}[\"']?\s*:") for key in _KEYS]
_TEMPLATE = re.compile(r"^[^\S\n]*(?:\{\{|\{%|<%)|[:\[,-]\s*\{\{", re.MULTILINE)


def is_object(value: Mapping[str, Any]) -> bool:
    """Return whether a mapping is meant as an object: it has both keys of one, or one of them and metadata."""
    return sum(key in value for key in (*_KEYS, "metadata")) >= 2


def unreadable(text: str, error: DocumentError, number: int) -> Problem:
    """Return the problem of a document that can't be read: no object's, if its text doesn't look like one."""
    if _TEMPLATE.search(text):
        message = f"is an unrendered template; render it first: {RENDERING}"
        return Problem(error.line, message, number, foreign=True, template=True)
    keys = _FLOW_KEYS if text.lstrip("- \t\r\n").startswith("{") else _BLOCK_KEYS
    return Problem(error.line, error.message, number, foreign=not all(key.search(text) for key in keys))
