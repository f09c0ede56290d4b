"""Tasks that wait for too long are cancelled, at the price of one timer for all of them.

`asyncio.timeout` sets and cancels a timer for each: 4 us, of some 100 that a review costs.
"""

import asyncio
from typing import Any

_SHARE = 0.1


class Late:
    """The tasks of one process that wait, by when they began."""

    def __init__(self, seconds: float) -> None:
        """Take how long a task may wait; it may become a tenth more."""
        self._seconds = seconds
        self._waiting: dict[asyncio.Task[Any], float] = {}
        self._cancelled: dict[asyncio.Task[Any], int] = {}
        self._looking = False

    def begin(self) -> asyncio.Task[Any]:
        """Watch the current task, and return it."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - whoever awaits is one
        loop = task.get_loop()
        self._waiting[task] = loop.time()
        if not self._looking:
            self._look_later(loop)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Watch a task no longer: it goes on, whether or not it was cancelled for waiting."""
        self._waiting.pop(task, None)
        for _ in range(self._cancelled.pop(task, 0)):
            task.uncancel()

    def caught(self, task: asyncio.Task[Any]) -> bool:
        """Say whether it was for waiting that a task was cancelled."""
        return task in self._cancelled

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel who is late, those that began first before others, and again until it has an effect.

        Up to Python 3.11 `asyncio.wait_for` swallows a cancellation that comes together with what is waited for.
        """
        latest = loop.time() - self._seconds
        for task, began in list(self._waiting.items()):
            if began > latest:
                break
            self._cancelled[task] = self._cancelled.get(task, 0) + 1
            task.cancel()
        self._looking = False
        if self._waiting:
            self._look_later(loop)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = True
        loop.call_later(self._seconds * _SHARE, self._look, loop)
