"""Kubernetes Events: what `kubectl describe` shows of an object."""

import datetime as dt
import logging
import socket
from collections.abc import Sequence

from webhook.cluster.objects import ConfigMap
from webhook.cluster.transport import ApiError, Transport

log = logging.getLogger("tokenguard.cluster")
_MOST_BYTES = 1024
"""The API server refuses longer messages."""


def tell_mistakes(transport: Transport, found: ConfigMap, mistakes: Sequence[str], digest: str) -> None:
    """Create an Event that names a ConfigMap's mistakes.

    Its name comes from the content, so that of several replicas that tell the same only the first makes one (the API
    server keeps it for an hour). What goes wrong is logged: the policy in force doesn't depend on it.
    """
    meta = found.metadata
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta.name[:200]}.{digest[:16]}", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
        "type": "Warning",
        "reason": "PolicyRejected",
        "message": message(mistakes),
        "source": {"component": "tokenguard", "host": socket.gethostname()},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        transport.post(f"/api/v1/namespaces/{meta.namespace}/events", event)
    except ApiError as error:
        if error.status != 409:
            log.warning("no Event could be made of the policy's mistakes: %s", error)


def message(mistakes: Sequence[str]) -> str:
    """Return all mistakes, a line each; where that is too long, the first ones and how many more there are."""
    head = "the policy is not used, the last good one stays in force:"
    lines = [head, *mistakes]
    for shown in range(len(mistakes), -1, -1):
        left = len(mistakes) - shown
        text = "\n".join([*lines[: shown + 1], *([f"and {left} more"] if left else [])])
        if len(text.encode()) <= _MOST_BYTES:
            return text
    return head
