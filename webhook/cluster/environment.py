"""Where this process runs; a module of its own, so that importing it loads no client."""

import os
from pathlib import Path

from webhook.core.cluster_state import DEFAULT_NAMESPACE

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""The pod's namespace, beside the token of its ServiceAccount."""


def in_cluster() -> bool:
    """Return whether this process runs in a pod."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST") and os.environ.get("KUBERNETES_SERVICE_PORT"))


def own_namespace(file: Path = NAMESPACE_FILE) -> str:
    """Return the namespace of this pod; outside a pod the one that tokenguard is installed in by default."""
    try:
        return file.read_text(encoding="ascii").strip() or DEFAULT_NAMESPACE
    except (OSError, UnicodeDecodeError):
        return DEFAULT_NAMESPACE
