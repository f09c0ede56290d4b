"""gunicorn's ASGI worker, made to stop promptly, to share connections and never to serve without TLS.

What is overridden stands in gunicorn/workers/gasgi.py (26.2). There, every idle connection, of which an API server
keeps many, is waited for at the stop.
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import ssl
from functools import partial
from typing import Any, cast

from gunicorn import sock
from gunicorn.asgi.lifespan import LifespanManager
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gasgi import ASGIWorker

from webhook.server.asgi import LEAVES_CONTINUE
from webhook.server.connection import Connection
from webhook.server.spread import Listener, Shares, Surplus

MOST_CONNECTIONS = 2000
SPARE_FILES = 64
"""Open files that are no connections: the worker's own, and connections that are still in their TLS handshake."""
IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
"""What gunicorn reloads, starts a second master or changes the number of workers by. Files are followed without."""
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""They wait from before a fork until the worker has handlers of its own: it inherits the master's, which would swallow
them, and the master would wait for a worker that knows of nothing until the graceful timeout has passed."""
os.register_at_fork(
    before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, ENDING_SIGNALS),
    after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, ENDING_SIGNALS),
)
HANDSHAKE_SECONDS = 10.0
_SHARES = Shares()
GRACE_SECONDS = 0.2


class Worker(ASGIWorker):
    """A process that answers."""

    alive: bool
    ppid: int
    loop: asyncio.AbstractEventLoop
    sockets: list[Any]  # gunicorn's own, which hold the real ones in .sock
    _quick_shutdown: bool
    # What the master ignores, a worker inherits: gunicorn would give these their effects back, for a moment at least.
    SIGNALS = [number for number in ASGIWorker.SIGNALS if number not in IGNORED_SIGNALS]  # noqa: RUF012 - as there

    def __init__(self, *arguments: Any) -> None:
        """Be made in the master, which then forks."""
        super().__init__(*arguments)
        self.share = _SHARES.join()

    @classmethod
    def check_config(cls, cfg: Config, log: Logger) -> None:
        """Find the HTTP parser in C, before there are workers; gunicorn notes it on the class itself, not on ours."""
        super().check_config(cfg, log)
        if not ASGIProtocol._check_h1c_protocol_available():  # type: ignore[attr-defined]  # noqa: SLF001 - see above
            log.warning("gunicorn_h1c is not installed: requests are read by the slower parser")

    @property
    def place(self) -> str:
        """Where it counts: no other worker that lives counts there."""
        return f"p{os.getpid()}" if self.share.at is None else str(self.share.at)

    def died(self) -> None:
        """Be forgotten, in the master."""
        _SHARES.leave(self.share)

    def init_process(self) -> None:
        """Begin without connections."""
        self.connections: dict[Connection, None] = {}
        self._surplus = Surplus(self.share)
        self._has_too_many = False
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files - SPARE_FILES)
        self.state[LEAVES_CONTINUE] = True
        self._wake = asyncio.Event()
        super().init_process()

    def init_signals(self) -> None:
        """Have handlers, and let in what has waited for them."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)

    def admit(self, connection: Connection) -> None:
        """Take a connection in; past the limit the one that has idled longest has to go."""
        if len(self.connections) >= self._most:
            next((one for one in self.connections if one.idle), connection).abort()
        self.connections[connection] = None

    def dismiss(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        if connection in self.connections:
            del self.connections[connection]
            self.share.add(-1)

    def parts_with_one(self) -> bool:
        """Say whether the client that is about to be answered is to connect anew, because others have fewer."""
        parts, self._has_too_many = self._has_too_many, False
        if parts:
            self._surplus.parted()
        return parts

    def handle_exit_signal(self) -> None:
        """SIGTERM: answer what is under way, then stop."""
        super().handle_exit_signal()
        self.state["stopping"] = True
        self._wake.set()

    def handle_quit_signal(self) -> None:
        """SIGINT, SIGQUIT: stop."""
        super().handle_quit_signal()
        self._wake.set()

    async def _serve(self) -> None:
        lifespan = LifespanManager(self.asgi, self.log, self.state)
        if not await self._started(lifespan):
            await lifespan.shutdown()
            return
        context = sock.ssl_context(self.cfg)
        listeners = [
            Listener(listener.sock, self.share, partial(self._greet, context=context)) for listener in self.sockets
        ]
        while self.alive and self.ppid == os.getppid():
            self.notify()
            for connection in list(self.connections):
                connection.tick()
            self._has_too_many = self._surplus.is_there(len(self.connections))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 1.0)
        for listener in listeners:
            listener.close()
        if self.alive:  # the master was killed, and nobody sends the signal
            self.handle_exit_signal()
        await self._finish()
        await lifespan.shutdown()

    async def _greet(self, client: socket.socket, context: ssl.SSLContext) -> None:
        """Go through the handshake with a client. One with whom it fails is none of ours."""
        self.share.add(1)
        made = Connection(self)
        with contextlib.suppress(OSError):  # what ssl raises, and a handshake that takes too long, are ones
            await self.loop.connect_accepted_socket(
                lambda: made,
                client,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=1.0,
            )
        if not made.transport:
            self.share.add(-1)

    async def _started(self, lifespan: LifespanManager) -> bool:
        """Start what runs beside; return False where the worker is told to stop before that is done."""
        starting = asyncio.create_task(lifespan.startup())
        stopping = asyncio.create_task(self._wake.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            await starting
            return True
        starting.cancel()
        return False

    async def _finish(self) -> None:
        """Answer what has arrived, and let go of idle connections."""
        if not self._quick_shutdown:
            await asyncio.sleep(GRACE_SECONDS)  # for what was sent before its sender could know
        deadline = self.loop.time() + self.cfg.graceful_timeout
        while not self._quick_shutdown and self.loop.time() < deadline:
            self.notify()
            for connection in list(self.connections):
                if connection.idle:
                    cast("asyncio.Transport", connection.transport).close()
            if all(connection.done for connection in self.connections):
                break
            await asyncio.sleep(0.05)
