"""Connections, spread over the workers.

The API server opens few connections and keeps them, and all workers listen on one socket. Whoever wakes first takes
what has arrived, and that is commonly the same one: without more ado eight connections land on one worker of two, and
the other idles for as long as they last. So each tells the others how many it holds, in memory that they have in
common, and leaves what arrives next to whoever has fewer. Where a worker has died, the others have what it had, and the
next one nothing: so who has more than others has its clients connect anew, one after the other.
"""

import asyncio
import logging
import mmap
import socket
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger("tokenguard")

MOST_WORKERS = 256
"""Those past that take whatever they can get."""
PAUSE = 0.02
"""So long, in seconds, a connection is left to another worker, which may be busy, before it is taken all the same."""
RETRY = 0.5
"""So long nothing is taken in after there was no room for it."""
MOST_REST = 64
"""So long, in seconds, no client is sent away at the most, where those before it didn't go where there are fewer."""
SILENCE = 60.0
"""Seconds until that is said again."""
_ABSENT = -1


class Shares:
    """How many connections each worker holds. Made, and joined for each worker, by the process that forks them."""

    def __init__(self) -> None:
        """Begin without workers."""
        self.counts = memoryview(mmap.mmap(-1, 4 * MOST_WORKERS)).cast("i")
        self._taken: set[int] = set()
        for at in range(MOST_WORKERS):
            self.counts[at] = _ABSENT

    def join(self) -> "Share":
        """Return the share of a worker that is about to be started. It takes part from `begin` on."""
        at = next((at for at in range(MOST_WORKERS) if at not in self._taken), None)
        if at is not None:
            self._taken.add(at)
        return Share(self, at)

    def leave(self, share: "Share") -> None:
        """Forget a worker that is gone, however it went."""
        share.end()
        if share.at is not None:
            self._taken.discard(share.at)


class Share:
    """One worker's own."""

    def __init__(self, shares: Shares, at: int | None) -> None:
        """Take all shares, and the place of this one in them; None: there was no room left."""
        self.at = at
        self._counts = shares.counts
        self._held = 0

    def begin(self) -> None:
        """Take part, from when this worker listens."""
        self._tell(self._held)

    def end(self) -> None:
        """Take part no more."""
        self._tell(_ABSENT)

    def add(self, count: int) -> None:
        """Note that this worker holds so many more connections, or fewer."""
        self._held += count
        if self.at is not None and self._counts[self.at] != _ABSENT:
            self._tell(self._held)

    @property
    def is_next(self) -> bool:
        """Whether no other worker has fewer."""
        return self._held <= _alike(min(self.elsewhere, default=self._held))

    @property
    def elsewhere(self) -> list[int]:
        """How many each other worker holds."""
        if self.at is None:
            return []
        return [count for at, count in enumerate(self._counts) if at != self.at and count != _ABSENT]

    def _tell(self, count: int) -> None:
        if self.at is not None:
            self._counts[self.at] = count


class Surplus:
    """Whether a worker has more connections than others have, so that a client had better connect anew.

    That is asked once a second. Where the one that parted is not to be found elsewhere after that (it came back, or
    waits until it has something to send), nothing is done for a while, and for longer each time.
    """

    def __init__(self, share: Share) -> None:
        """Take the worker's share."""
        self._share = share
        self._parted_at: int | None = None
        self._rests = self._rest = 0

    def is_there(self, established: int) -> bool:
        """Say whether one of so many connections, through their handshake, is better elsewhere."""
        elsewhere = self._share.elsewhere
        parted_at, self._parted_at = self._parted_at, None
        if parted_at is not None:
            came_back = sum(elsewhere) <= parted_at
            self._rests = self._rest = min(max(2 * self._rest, 1), MOST_REST) if came_back else 0
        if self._rests:
            self._rests -= 1
            return False
        return bool(elsewhere) and established > _alike(min(elsewhere)) + 1

    def parted(self) -> None:
        """Note that a client was told to connect anew."""
        self._parted_at = sum(self._share.elsewhere)


def _alike(count: int) -> int:
    """Return the most that counts as no more than `count`: of many connections a quarter more."""
    return count + count // 4


class Listener:
    """Takes connections in from a listening socket, one in each turn of the loop, as long as they are this worker's."""

    def __init__(
        self,
        listening: socket.socket,
        share: Share,
        greet: Callable[[socket.socket], Coroutine[Any, Any, object]],
    ) -> None:
        """Begin. `greet` is run for each connection that is taken in, and owns it from then on."""
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._share = share
        self._greet = greet
        self._greeting: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_overdue = False
        self._silent_until = 0.0
        listening.settimeout(0)
        share.begin()
        self._loop.add_reader(listening, self._arrived)

    def close(self) -> None:
        """Take nothing more in. What is being greeted goes on."""
        self._share.end()
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _arrived(self) -> None:
        if self._is_overdue or self._share.is_next:
            self._is_overdue = False
            self._take()
        else:
            self._rest(PAUSE)

    def _take(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client has left
        except OSError as error:  # no more open files, no memory, or no network
            if self._loop.time() >= self._silent_until:
                log.error("connections wait, none can be accepted: %s", error.strerror)  # noqa: TRY400 - no bug to trace
                self._silent_until = self._loop.time() + SILENCE
            self._rest(RETRY)
            return
        connection.settimeout(0)
        task = self._loop.create_task(self._greet(connection))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    def _rest(self, seconds: float) -> None:
        """Leave arrivals alone for so long; the first one that is there afterwards is taken in."""
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._is_overdue = True
        self._loop.add_reader(self._listening, self._arrived)
