"""Events on the owners of pods that were rejected or exempted, made off the request path.

The same thing told again is one Event whose count grows, whichever worker of whichever replica tells it: its name
comes from what it says. A worker writes one at most once a minute, and no more than five in a second; what it is told
meanwhile is added up. So a controller that tries on and on costs the API server next to nothing.

Authors of pods choose who their owners are. So what waits is bounded in number and size, in all and for a namespace,
and namespaces take turns: no namespace's Events wait for a flood of another's.
"""

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from webhook.cluster.backoff import delay_after
from webhook.cluster.event_recorder import cut, event
from webhook.cluster.transport import CONFLICT, NOT_FOUND, ApiError, Transport
from webhook.core.bounded_cache import memory_size
from webhook.core.owner_event import REJECTED, OwnerEvent

log = logging.getLogger("tokenguard.cluster")
EVERY = 60.0
PAUSE = 0.2
"""Seconds between two writes of one Event, and between any two."""
MOST = 1000
"""So many different ones are kept in mind."""
MAX_IN_NAMESPACE = 100
"""So many of them for one namespace."""
MAX_NOTICE_BYTES = 8 << 10
"""The memory that one takes at most: a message of 1 KiB (4 in memory, with the widest characters), and names."""
TRIES = 4


@dataclass(slots=True)
class _Said:
    """What is to be said, how many times more than was written, and from when on it may be written (monotonic)."""

    notice: OwnerEvent
    more: int
    due: float


class _Metadata(msgspec.Struct):
    resource_version: str = msgspec.field(default="", name="resourceVersion")


class _Stored(msgspec.Struct):
    metadata: _Metadata
    count: int | None = None


class PodEventRecorder:
    """Takes notices from any thread and never keeps it waiting."""

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.monotonic) -> None:
        """Take where to; starts nothing, so it may be made before a fork."""
        self._transport = transport
        self._clock = clock
        self._said: dict[tuple[str, ...], _Said] = {}
        self._in_namespace: Counter[str] = Counter()
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._left_out = 0
        self._silent_until = 0.0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._over = threading.Event()
        self._refused = ""

    def tell(self, notice: OwnerEvent) -> None:
        """Have an Event made or counted on; one too many, or too large, is left out, and the log says so."""
        notice = replace(notice, message=cut(notice.message))
        owner = notice.owner
        key = (notice.namespace, owner.kind or "", owner.name or "", owner.uid or "", notice.reason, notice.about)
        with self._lock:
            said = self._said.get(key)
            if said is not None:
                said.notice, said.more = replace(said.notice, message=notice.message), said.more + 1
            elif self._has_room_for(notice):
                self._said[key] = _Said(notice, 1, self._clock())
                self._in_namespace[notice.namespace] += 1
            else:
                self._left_out += 1
        self._wake.set()

    def _has_room_for(self, notice: OwnerEvent) -> bool:
        return (
            len(self._said) < MOST
            and self._in_namespace[notice.namespace] < MAX_IN_NAMESPACE
            and memory_size(notice) <= MAX_NOTICE_BYTES
        )

    def start(self) -> None:
        """Begin to write."""
        threading.Thread(target=self._run, name="tokenguard-pod-events", daemon=True).start()

    def stop(self) -> None:
        """End it; what waits is not told."""
        self._over.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._over.is_set():
            self._wake.clear()
            due = self.write_due()
            if due is None or due > 0:
                self._wake.wait(due)
            self._over.wait(PAUSE)

    def write_due(self) -> float | None:
        """Write one Event that is due; return after how many seconds there is another, or None where none waits."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            waiting = [one for one in self._said.values() if one.more]
            due = [one for one in waiting if one.due <= now]
            if not due:
                return min((one.due - now for one in waiting), default=None)
            first = min(due, key=lambda one: (self._turns.get(one.notice.namespace, 0), one.due))
            notice, more = first.notice, first.more
            first.more, first.due = 0, now + EVERY
            self._turn += 1
            self._turns[notice.namespace] = self._turn
        self._write(notice, more)
        return 0.0

    def _forget(self, now: float) -> None:
        for key in [key for key, one in self._said.items() if not one.more and one.due < now]:
            namespace = self._said.pop(key).notice.namespace
            self._in_namespace[namespace] -= 1
            if not self._in_namespace[namespace]:
                del self._in_namespace[namespace]
                self._turns.pop(namespace, None)
        if self._left_out and self._silent_until <= now:
            log.warning("%d Events about pods were left out: too many different ones, or too large", self._left_out)
            self._left_out = 0
            self._silent_until = now + EVERY

    def _write(self, notice: OwnerEvent, more: int) -> None:
        for failures in range(1, TRIES + 1):
            try:
                self._create_or_count(notice, more)
            except ApiError as error:
                if error.status in {0, CONFLICT, 429} or error.status >= 500:
                    self._over.wait(delay_after(failures, error.retry_after))
                    continue
                if error.status != NOT_FOUND and str(error) != self._refused:  # gone with its namespace: nobody to tell
                    self._refused = str(error)
                    log.warning("no Event could be made about a pod that was judged: %s", error)
                return
            else:
                return
        log.warning("no Event could be made about a pod that was judged, after %d tries", TRIES)

    def _create_or_count(self, notice: OwnerEvent, more: int) -> None:
        made = _event(notice, more)
        where = f"/api/v1/namespaces/{notice.namespace}/events"
        try:
            self._transport.post(where, made)
        except ApiError as error:
            if error.status != CONFLICT:
                raise
        else:
            return
        one = f"{where}/{made['metadata']['name']}"
        try:
            stored = msgspec.json.decode(self._transport.get(one, {}, "application/json"), type=_Stored)
        except msgspec.DecodeError as error:  # of a proxy in between, for example
            raise ApiError(0, f"the Event can't be read: {error}") from error
        self._transport.patch(one, {
            "metadata": {"resourceVersion": stored.metadata.resource_version},
            "count": (stored.count or 1) + more,
            "lastTimestamp": made["lastTimestamp"],
            "message": made["message"],
        })  # fmt: skip


def _event(notice: OwnerEvent, count: int) -> dict[str, Any]:
    owner = notice.owner
    said = "\0".join((owner.kind or "", owner.uid or "", notice.reason, notice.about))
    involved = {
        "apiVersion": owner.api_version or "",
        "kind": owner.kind,
        "namespace": notice.namespace,
        "name": owner.name,
        "uid": owner.uid or "",
    }
    return event(
        f"{(owner.name or '')[:200].rstrip('-.')}.{hashlib.sha256(said.encode()).hexdigest()[:16]}",
        involved,
        kind="Warning" if notice.reason == REJECTED else "Normal",
        reason=notice.reason,
        message=cut(notice.message),
        count=count,
    )
