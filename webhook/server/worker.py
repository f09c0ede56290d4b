"""The process that answers: a gunicorn worker with an asyncio event loop, on gunicorn's public base class.

gunicorn's master starts it, restarts it after a crash or if it hangs for 30 s, tells it to stop, and owns the listening
socket, which survives it.
"""

import asyncio
import contextlib
import os
import resource
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Flask
from gunicorn.workers.base import Worker as BaseWorker

from webhook.server.background import Background
from webhook.server.flask_runner import FlaskRunner
from webhook.server.http_server import MAX_CONNECTIONS, TICK_SECONDS, HttpServer
from webhook.server.review_handler import ReviewHandler

try:
    from uvloop import new_event_loop
except ImportError:
    from asyncio import new_event_loop  # type: ignore[assignment]

SWITCH_SECONDS = 0.0005
"""How long another thread may delay the event loop. Python's default is 5 ms, and one review waits up to four times:
after each system call."""
SPARE_FILES = 64
"""Open files of the worker itself."""
IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
"""On these, gunicorn would reload, start a second master or change the number of workers."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Blocked from before the fork until the loop handles them: the worker inherits the master's handlers, which would lose
them, and the master would wait for the worker until the graceful timeout."""
os.register_at_fork(
    before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, STOP_SIGNALS),
    after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, STOP_SIGNALS),
)


@dataclass(frozen=True)
class Application:
    """What a worker runs; created in the master, before the fork.

    `background` starts and stops with the worker. `load_state` reads files, before the first connection is accepted;
    reviews are held until `background` has started. `reopen_logs` is called on SIGUSR1, and `worker_exited` in the
    master, before the next worker is forked.
    """

    handler: ReviewHandler
    flask: Flask
    tls: ssl.SSLContext
    background: Background
    load_state: Callable[[], object]
    reopen_logs: Callable[[], object]
    worker_exited: Callable[[], object]


class Worker(BaseWorker):
    """A process that answers reviews."""

    wsgi: Any
    sockets: list[Any]
    SIGNALS = [number for number in BaseWorker.SIGNALS if number not in IGNORED_SIGNALS]  # noqa: RUF012 - as there

    def run(self) -> None:
        """Serve until a signal to stop."""
        sys.setswitchinterval(SWITCH_SECONDS)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._wake = asyncio.Event()
        self._is_graceful = True
        self._handle_signals(asyncio.get_running_loop())
        application: Application = self.wsgi
        application.load_state()
        server = HttpServer(
            application.handler,
            FlaskRunner(application.flask, application.handler.internal_error),
            application.tls,
            max_connections=_max_connections(),
        )
        for listener in self.sockets:
            server.listen(listener.sock)
        start = asyncio.create_task(asyncio.to_thread(application.background.start))
        start.add_done_callback(partial(self._started, server))
        while self.alive and self.ppid == os.getppid():  # the master may be killed, and send no signal
            self.notify()
            server.tick()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_SECONDS)
        await self._notify_while(server.drain(self.cfg.graceful_timeout if self._is_graceful else 0))
        await self._notify_while(asyncio.to_thread(application.background.stop))
        await start

    def _started(self, server: HttpServer, start: asyncio.Task[None]) -> None:
        """Evaluate held reviews. A background that fails to start ends the worker, and the master starts another."""
        server.reviews.stop_holding()
        if not start.cancelled() and start.exception():
            self._stop()

    async def _notify_while(self, stopping: Coroutine[Any, Any, None]) -> None:
        """Wait for a step of stopping, while reporting to the master that this worker does not hang."""
        task = asyncio.create_task(stopping)
        while not task.done():
            self.notify()
            await asyncio.wait([task], timeout=TICK_SECONDS)
        await task

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        for number in (signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._quit)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _stop(self) -> None:
        """SIGTERM: answer what has arrived, then stop."""
        self.alive = False
        self._wake.set()

    def _quit(self) -> None:
        """SIGINT, SIGQUIT: stop."""
        self._is_graceful = False
        self._stop()

    def _reopen(self) -> None:
        self.wsgi.reopen_logs()


def _max_connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files - SPARE_FILES)
