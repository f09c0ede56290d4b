"""Kubernetes Events, written in the background: on owners of denied or exempted pods, and on an invalid policy.

Repetitions are one Event whose count grows, whichever replica writes it: its name is derived from its content. A
replica writes an Event at most once a minute, and at most five in a second; repetitions in between are added up. So a
controller that retries endlessly costs the API server next to nothing.

Authors of pods choose their owners. So waiting Events are bounded in number and size, in all and for a namespace, and
namespaces take turns: a flood of Events in one namespace does not delay the Events of another.
"""

import datetime as dt
import hashlib
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from webhook.cluster.api_types import ConfigMap
from webhook.cluster.backoff import delay_after
from webhook.cluster.transport import CONFLICT, NOT_FOUND, ApiError, Transport
from webhook.core.bounded_cache import memory_size
from webhook.core.k8s_types import OwnerReference
from webhook.core.owner_event import EXEMPTED, TOKEN_RESTORED, OwnerEvent
from webhook.core.policy.model import HELP

log = logging.getLogger("tokenguard.cluster")
POLICY_REJECTED = "PolicyRejected"
_NORMAL = frozenset({EXEMPTED, TOKEN_RESTORED})
EVENT_INTERVAL, WRITE_INTERVAL = 60.0, 0.2
"""Seconds between two writes of one Event, and between two writes of any."""
MAX_EVENTS = 1000
MAX_IN_NAMESPACE = 100
MAX_EVENT_BYTES = 8 << 10
"""The memory of one Event: a message of 1 KiB (4 in memory, with the widest characters), and names."""
MAX_TRIES = 4
_MAX_MESSAGE_BYTES = 1024
"""The API server rejects longer messages."""


@dataclass(slots=True)
class _Pending:
    """An Event, how often it occurred since the last write, and when it may be written (monotonic)."""

    event: OwnerEvent
    count: int
    due: float


class _Metadata(msgspec.Struct):
    resource_version: str = msgspec.field(default="", name="resourceVersion")


class _StoredEvent(msgspec.Struct):
    metadata: _Metadata
    count: int | None = None


class EventRecorder:
    """Writes Events; `record` may be called from any thread and never blocks."""

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._pending: dict[tuple[str, ...], _Pending] = {}
        self._in_namespace: Counter[str] = Counter()
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._dropped = 0
        self._next_report = 0.0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._last_refusal = ""

    def record(self, event: OwnerEvent) -> None:
        """Have an Event created or counted. If there are too many, or if it is too large, it is dropped and logged."""
        event = replace(event, message=_shortened(event.message))
        owner = event.owner
        key = (event.namespace, owner.kind or "", owner.name or "", owner.uid or "", event.reason, event.rules)
        with self._lock:
            pending = self._pending.get(key)
            if pending is not None:
                pending.event, pending.count = replace(pending.event, message=event.message), pending.count + 1
            elif self._has_room_for(event):
                self._pending[key] = _Pending(event, 1, self._clock())
                self._in_namespace[event.namespace] += 1
            else:
                self._dropped += 1
        self._wake.set()

    def record_policy_errors(self, config_map: ConfigMap, errors: Sequence[str], digest: str) -> None:
        """Have an Event created that lists the errors of a policy document with this digest."""
        meta = config_map.metadata
        owner = OwnerReference(api_version="v1", kind="ConfigMap", name=meta.name, uid=meta.uid)
        self.record(OwnerEvent(meta.namespace, owner, POLICY_REJECTED, digest, policy_message(errors)))

    def _has_room_for(self, event: OwnerEvent) -> bool:
        return (
            len(self._pending) < MAX_EVENTS
            and self._in_namespace[event.namespace] < MAX_IN_NAMESPACE
            and memory_size(event) <= MAX_EVENT_BYTES
        )

    def start(self) -> None:
        """Start the thread that writes."""
        threading.Thread(target=self._run, name="tokenguard-events", daemon=True).start()

    def stop(self) -> None:
        """Stop it; waiting Events are lost."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            delay = self.write_next()
            if delay is None or delay > 0:
                self._wake.wait(delay)
            self._stopping.wait(WRITE_INTERVAL)

    def write_next(self) -> float | None:
        """Write one Event that is due. Return the seconds until the next one is due, or None if none is waiting."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            waiting = [pending for pending in self._pending.values() if pending.count]
            due = [pending for pending in waiting if pending.due <= now]
            if not due:
                return min((pending.due - now for pending in waiting), default=None)
            first = min(due, key=lambda pending: (self._turns.get(pending.event.namespace, 0), pending.due))
            event, count = first.event, first.count
            first.count, first.due = 0, now + EVENT_INTERVAL
            self._turn += 1
            self._turns[event.namespace] = self._turn
        self._write(event, count)
        return 0.0

    def _forget(self, now: float) -> None:
        for key in [key for key, pending in self._pending.items() if not pending.count and pending.due < now]:
            namespace = self._pending.pop(key).event.namespace
            self._in_namespace[namespace] -= 1
            if not self._in_namespace[namespace]:
                del self._in_namespace[namespace]
                self._turns.pop(namespace, None)
        if self._dropped and self._next_report <= now:
            log.warning("dropped %d Events: too many different ones, or too large", self._dropped)
            self._dropped = 0
            self._next_report = now + EVENT_INTERVAL

    def _write(self, event: OwnerEvent, count: int) -> None:
        for failures in range(1, MAX_TRIES + 1):
            try:
                self._create_or_count(event, count)
            except ApiError as error:
                if error.status in {0, CONFLICT, 429} or error.status >= 500:
                    self._stopping.wait(delay_after(failures, error.retry_after))
                    continue
                if error.status != NOT_FOUND and str(error) != self._last_refusal:  # 404: the namespace was deleted
                    self._last_refusal = str(error)
                    log.warning("cannot create an Event: %s", error)
                return
            else:
                return
        log.warning("cannot create an Event, after %d tries", MAX_TRIES)

    def _create_or_count(self, event: OwnerEvent, count: int) -> None:
        new = event_manifest(event, count)
        path = f"/api/v1/namespaces/{event.namespace}/events"
        try:
            self._transport.post(path, new)
        except ApiError as error:
            if error.status != CONFLICT:
                raise
            if event.reason != POLICY_REJECTED:  # each replica reports a policy once: that need not be counted
                self._add_to_count(f"{path}/{new['metadata']['name']}", new)

    def _add_to_count(self, path: str, new: dict[str, Any]) -> None:
        try:
            stored = msgspec.json.decode(self._transport.get(path, {}, "application/json"), type=_StoredEvent)
        except msgspec.DecodeError as error:  # from a proxy, for example
            raise ApiError(0, f"cannot decode the Event: {error}") from error
        self._transport.patch(path, {
            "metadata": {"resourceVersion": stored.metadata.resource_version},
            "count": (stored.count or 1) + new["count"],
            "lastTimestamp": new["lastTimestamp"],
            "message": new["message"],
        })  # fmt: skip


def event_manifest(event: OwnerEvent, count: int = 1) -> dict[str, Any]:
    """Return the Event; its name follows from the owner, the reason and the rules."""
    owner = event.owner
    content = "\0".join((owner.kind or "", owner.uid or "", event.reason, event.rules))
    name = f"{(owner.name or '')[:200].rstrip('-.')}.{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": event.namespace},
        "involvedObject": {
            "apiVersion": owner.api_version or "",
            "kind": owner.kind,
            "namespace": event.namespace,
            "name": owner.name,
            "uid": owner.uid or "",
        },
        "type": "Normal" if event.reason in _NORMAL else "Warning",
        "reason": event.reason,
        "message": event.message,
        "source": {"component": "tokenguard", "host": socket.gethostname()},
        "reportingComponent": "tokenguard",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": count,
    }


def _shortened(text: str) -> str:
    """Return as much of a message as an Event takes. The line with the decision id, and one with help, stay."""
    *_, before, last = "", *text.split("\n")
    last = f"{before}\n{last}" if before.startswith(HELP) else last
    room = _MAX_MESSAGE_BYTES - len(last.encode()) - len("…\n".encode())
    if len(text.encode()) <= _MAX_MESSAGE_BYTES or room <= 0:
        return text.encode()[:_MAX_MESSAGE_BYTES].decode(errors="ignore")
    return f"{text.encode()[:room].decode(errors='ignore')}…\n{last}"


def policy_message(errors: Sequence[str]) -> str:
    """Return the errors, one a line; if that is too long, the first ones and how many more there are."""
    text = "policy not used; the last valid one, if any, stays in force:"
    message = _with_remaining(text, len(errors))
    for count, error in enumerate(errors, 1):
        text = f"{text}\n{error}"
        if len(text.encode()) > _MAX_MESSAGE_BYTES:
            break
        candidate = _with_remaining(text, len(errors) - count)
        if len(candidate.encode()) <= _MAX_MESSAGE_BYTES:
            message = candidate
    return message


def _with_remaining(text: str, remaining: int) -> str:
    return f"{text}\nand {remaining} more" if remaining else text
