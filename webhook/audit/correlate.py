"""A pod counted once: the mutating and the validating webhook each leave a line about it.

Their uids differ, because each review has its own. So the lines are put together by whom and what they are about
(`DecisionEvent.key` and `names`) and by when: the API server asks one webhook right after the other.
"""

import datetime as dt
from collections import deque
from collections.abc import Callable

from webhook.audit.events import DecisionEvent

_MAX_INTERVAL = dt.timedelta(seconds=30)
"""The API server waits no longer for a webhook's answer."""
_MAX_PENDING = 20_000

_Key = tuple[bool, str, tuple[str, ...]]


class _Pending:
    """A line whose other half may still come."""

    __slots__ = ("done", "keys", "verdict")

    def __init__(self, verdict: DecisionEvent, keys: list[_Key]) -> None:
        self.verdict = verdict
        self.keys = keys
        self.done = False


class Correlator:
    """Holds lines back until their other half has come or could no longer; at most 20,000, the oldest goes first."""

    def __init__(self, count: Callable[[DecisionEvent], None], most: int = _MAX_PENDING) -> None:
        """Have `count` called for each request."""
        self._count = count
        self._most = most
        self._queue: deque[_Pending] = deque()
        self._by_key: dict[_Key, deque[_Pending]] = {}

    def add(self, verdict: DecisionEvent) -> None:
        """Take the next line."""
        if not verdict.key:
            self._count(verdict)
            return
        while self._queue and (self._queue[0].done or verdict.time - self._queue[0].verdict.time > _MAX_INTERVAL):
            self._emit(self._queue.popleft())
        other = self._find_counterpart(verdict)
        if other is not None:
            self._remove(other)
            self._count(verdict.merged_with(other.verdict))
            return
        waiting = _Pending(verdict, [(verdict.mutating, name, verdict.key) for name in verdict.names])
        self._queue.append(waiting)
        for key in waiting.keys:
            self._by_key.setdefault(key, deque()).append(waiting)
        if len(self._queue) > self._most:
            self._emit(self._queue.popleft())

    def flush(self) -> None:
        """Count what still waits."""
        while self._queue:
            self._emit(self._queue.popleft())

    def _find_counterpart(self, verdict: DecisionEvent) -> _Pending | None:
        for name in verdict.names:
            found = self._by_key.get((not verdict.mutating, name, verdict.key))
            if found and abs(found[0].verdict.time - verdict.time) <= _MAX_INTERVAL:
                return found[0]
        return None

    def _emit(self, waiting: _Pending) -> None:
        if not waiting.done:
            self._remove(waiting)
            self._count(waiting.verdict)

    def _remove(self, waiting: _Pending) -> None:
        waiting.done = True
        for key in waiting.keys:
            held = self._by_key[key]
            held.remove(waiting)
            if not held:
                del self._by_key[key]
