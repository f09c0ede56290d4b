"""Where this process runs; apart from the rest, so that asking loads no client."""

import os


def in_cluster() -> bool:
    """Say whether this process runs in a pod."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST") and os.environ.get("KUBERNETES_SERVICE_PORT"))
