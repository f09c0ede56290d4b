"""Where rendered manifests mention the namespace that tokenguard is installed in by default."""

import re

from webhook.core.cluster_state import DEFAULT_NAMESPACE

IS_DEFAULT_NAMESPACE = re.compile(
    rf"^{DEFAULT_NAMESPACE}$|{DEFAULT_NAMESPACE}\.{DEFAULT_NAMESPACE}|^{DEFAULT_NAMESPACE}/{DEFAULT_NAMESPACE}"
    rf"|-n {DEFAULT_NAMESPACE}\b|namespace {DEFAULT_NAMESPACE}\b"
)
NAMES = {"name", "priorityClassName", "serviceAccountName", "serviceAccount", "resourceNames"} | {
    f"app.kubernetes.io/{label}" for label in ("name", "instance", "part-of")
}
"""Fields that contain the name of another object than the namespace."""


def strings(value, key=""):
    """Yield every string of an object with the key that it is under."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, key)
    elif isinstance(value, str):
        yield key, value


def mentions(objects):
    return [
        (obj["kind"], key, text)
        for obj in objects
        for key, text in strings({**obj, "metadata": {**obj["metadata"], "name": ""}})
        if IS_DEFAULT_NAMESPACE.search(text) and key not in NAMES
    ]
