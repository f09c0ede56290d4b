"""Joins the records of the mutating and the validating webhook about one pod, so that it counts once.

Each review has its own uid, so the records are joined by their subject and sender (`DecisionEvent.key` and `names`) and
by time: the API server calls one webhook right after the other.
"""

import datetime as dt
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from webhook.audit.events import DecisionEvent

_MAX_INTERVAL = dt.timedelta(seconds=30)
"""The longest webhook timeout that the API server allows."""
_MAX_PENDING = 20_000

_Key = tuple[bool, str, tuple[str, ...]]


@dataclass(eq=False, slots=True)
class _Pending:
    """A record whose counterpart may still come."""

    event: DecisionEvent
    keys: list[_Key]
    is_done: bool = False


class Correlator:
    """Holds records back until their counterpart has come or can no longer come; if too many wait, the oldest goes."""

    def __init__(self, emit: Callable[[DecisionEvent], None], max_pending: int = _MAX_PENDING) -> None:
        """`emit` is called once for each request."""
        self._emit_event = emit
        self._max_pending = max_pending
        self._queue: deque[_Pending] = deque()
        self._by_key: dict[_Key, deque[_Pending]] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, event: DecisionEvent) -> None:
        """Add the next record; records come in the order of their times."""
        if not event.key:
            self._emit_event(event)
            return
        while self._queue and (self._queue[0].is_done or event.time - self._queue[0].event.time > _MAX_INTERVAL):
            self._emit(self._queue.popleft())
        counterpart = self._find_counterpart(event)
        if counterpart is not None:
            self._remove(counterpart)
            self._emit_event(event.merged_with(counterpart.event))
            return
        pending = _Pending(event, [(event.mutating, name, event.key) for name in event.names])
        self._queue.append(pending)
        for key in pending.keys:
            self._by_key.setdefault(key, deque()).append(pending)
        if len(self._queue) > self._max_pending:
            self._emit(self._queue.popleft())

    def flush(self) -> None:
        """Emit every record that still waits."""
        while self._queue:
            self._emit(self._queue.popleft())

    def _find_counterpart(self, event: DecisionEvent) -> _Pending | None:
        for name in event.names:
            candidates = self._by_key.get((not event.mutating, name, event.key))
            if candidates and abs(candidates[0].event.time - event.time) <= _MAX_INTERVAL:
                return candidates[0]
        return None

    def _emit(self, pending: _Pending) -> None:
        if not pending.is_done:
            self._remove(pending)
            self._emit_event(pending.event)

    def _remove(self, pending: _Pending) -> None:
        pending.is_done = True
        for key in pending.keys:
            candidates = self._by_key[key]
            candidates.remove(pending)
            if not candidates:
                del self._by_key[key]
