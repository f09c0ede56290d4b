"""Kubernetes Events: what `kubectl describe` shows of an object."""

import datetime as dt
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from webhook.cluster.api_types import ConfigMap
from webhook.cluster.backoff import delay_after
from webhook.cluster.transport import ApiError, Transport

log = logging.getLogger("tokenguard.cluster")
_MOST_BYTES = 1024
"""The API server refuses longer messages."""


TRIES = 6
_MOST_WAITING = 20


class PolicyEventRecorder:
    """Creates Events in a thread of its own: the policy is followed meanwhile, however slow the API server is."""

    def __init__(self, transport: Transport, wait: Callable[[float], object] = time.sleep) -> None:
        """Take where to, and what waits so many seconds; starts nothing, so it may be made before a fork."""
        self._transport = transport
        self._wait = wait
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def tell(self, found: ConfigMap, mistakes: Sequence[str], digest: str) -> None:
        """Have an Event made that names a ConfigMap's mistakes. Only one thread calls this.

        Its name comes from the content, so that of several replicas that tell the same only the first makes one (the
        API server keeps it for an hour). What goes wrong for good is logged.
        """
        try:
            self._waiting.put_nowait(_event(found, mistakes, digest))
        except queue.Full:
            log.warning("no Event is made of the policy's mistakes: %d others still wait", _MOST_WAITING)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tokenguard-events", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._create(self._waiting.get())

    def _create(self, event: dict[str, Any]) -> None:
        for failures in range(1, TRIES + 1):
            try:
                self._transport.post(f"/api/v1/namespaces/{event['metadata']['namespace']}/events", event)
            except ApiError as error:
                if error.status == 409:
                    return
                if failures == TRIES:
                    log.warning("no Event could be made of the policy's mistakes, after %d tries: %s", TRIES, error)
                else:
                    self._wait(delay_after(failures, error.retry_after))
            else:
                return


def _event(found: ConfigMap, mistakes: Sequence[str], digest: str) -> dict[str, Any]:
    meta = found.metadata
    involved = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    }
    name = f"{meta.name[:200]}.{digest[:16]}"
    return event(name, involved, kind="Warning", reason="PolicyRejected", message=message(mistakes))


def event(  # noqa: PLR0913 - what an Event consists of
    name: str, involved: dict[str, Any], *, kind: str, reason: str, message: str, count: int = 1
) -> dict[str, Any]:
    """Return an Event about an object, as it is now: so many times, to be made in that object's namespace."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": involved["namespace"]},
        "involvedObject": involved,
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": "tokenguard", "host": socket.gethostname()},
        "reportingComponent": "tokenguard",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": count,
    }


def cut(text: str) -> str:
    """Return so much of a text as an Event takes; its last line, which holds the decision's id, stays."""
    *_, last = text.rpartition("\n")
    room = _MOST_BYTES - len(last.encode()) - len("…\n".encode())
    if len(text.encode()) <= _MOST_BYTES or room <= 0:
        return text.encode()[:_MOST_BYTES].decode(errors="ignore")
    return f"{text.encode()[:room].decode(errors='ignore')}…\n{last}"


def message(mistakes: Sequence[str]) -> str:
    """Return all mistakes, a line each; where that is too long, the first ones and how many more there are."""
    text = "the policy is not used; the last good one, where there has been one, stays in force:"
    best = _with_count(text, len(mistakes))
    for shown, mistake in enumerate(mistakes, 1):
        text = f"{text}\n{mistake}"
        if len(text.encode()) > _MOST_BYTES:
            break
        counted = _with_count(text, len(mistakes) - shown)
        if len(counted.encode()) <= _MOST_BYTES:
            best = counted
    return best


def _with_count(text: str, left: int) -> str:
    return f"{text}\nand {left} more" if left else text
