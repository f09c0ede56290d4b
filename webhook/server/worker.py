"""gunicorn's ASGI worker, made to stop promptly, to let go of dead connections and never to serve without TLS.

What is overridden stands in gunicorn/workers/gasgi.py and gunicorn/asgi/protocol.py (26.2). There, a connection
that idles is never closed: its timer is cancelled as soon as it is set. And at the stop every idle connection,
of which an API server keeps many, is waited for.
"""

import asyncio
import asyncio.sslproto
import contextlib
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from gunicorn import sock
from gunicorn.asgi import protocol
from gunicorn.asgi.lifespan import LifespanManager
from gunicorn.asgi.parser import CallbackRequest
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gasgi import ASGIWorker

from webhook.server.asgi import CLIENT_IS_KNOWN, LEAVES_CONTINUE
from webhook.server.refusals import Refusal, refusal_body
from webhook.server.spread import Listener, Shares
from webhook.server.tls import shows_known_certificate

HEADERS = b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
"""In every answer: it is what its type says, for who asked, at this moment."""
protocol._CACHED_SERVER_HEADER = HEADERS  # type: ignore[attr-defined]  # noqa: SLF001 - in place of gunicorn's name

IDLE_SECONDS = 95
"""The API server keeps idle connections for 90 s; it should be the one to close them."""
BUSY_SECONDS = 60
MOST_CONNECTIONS = 2000
SPARE_FILES = 64
"""Open files that are no connections: the worker's own, and connections that are still in their TLS handshake."""
IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
"""What gunicorn reloads, starts a second master or changes the number of workers by. Files are followed without."""
TLS_BUFFER_BYTES = 32 << 10
"""What each connection holds to read into, as long as it lasts: two of TLS's records. asyncio takes 256 KiB, with which
2,000 idle connections take more memory than a replica has."""
asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
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


class Connection(ASGIProtocol):
    """One client's connection, known to its worker."""

    app: Any
    worker: "Worker"
    _closed: bool
    _current_request: CallbackRequest | None
    _callback_parser: Any
    _close_transport: Callable[[], None]
    _get_reason_phrase: Callable[[int], str]
    _safe_write: Callable[[bytes], None]
    _early = b""
    _is_known = False
    _seen = (0, False)
    _unchanged = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the worker's connections."""
        super().connection_made(transport)
        self._is_known = shows_known_certificate(transport.get_extra_info("ssl_object"))
        self.worker.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave them, and let go of the parser, which holds on to its connection: so both are freed at once."""
        super().connection_lost(exc)
        if self in self.worker.connections:
            del self.worker.connections[self]
            self.worker.share.add(-1)
        self._callback_parser = None

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self._current_request is None

    @property
    def done(self) -> bool:
        """Whether nothing more is to be sent."""
        transport = cast("asyncio.Transport", self.transport)
        return transport.is_closing() or (self.idle and not transport.get_write_buffer_size())

    def tick(self) -> None:
        """Note, once a second, whether anything has happened, and close what has stood still for too long.

        gunicorn counts a request from when it begins to wait for it: that one has come is to be seen by `idle` alone.
        """
        now = self.req_count, self.idle
        self._unchanged = self._unchanged + 1 if now == self._seen else 0
        self._seen = now
        if self._unchanged > (IDLE_SECONDS if self.idle else BUSY_SECONDS):
            self.abort()

    def abort(self) -> None:
        """Close at once, without waiting for the client."""
        cast("asyncio.Transport", self.transport).abort()

    def _build_http_scope(self, request: CallbackRequest, sockname: Any, peername: Any) -> Any:
        """Say of a request, besides, whether its sender is known."""
        scope = super()._build_http_scope(request, sockname, peername)  # type: ignore[misc]
        if self._is_known:
            scope[CLIENT_IS_KNOWN] = True
        return scope

    def _feed_callback_parser(self, data: bytes) -> bool:
        """Answer what isn't HTTP with a 400; gunicorn knows only some of its own parser's errors."""
        try:
            return bool(super()._feed_callback_parser(data))  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - whatever a client sends, it is no error of ours
            self._send_error_response(400, str(error))
            self._close_transport()
            return False

    def _resume_reading(self) -> None:
        """Between two requests, before the parser is reset: keep what has arrived early, which gunicorn would lose."""
        super()._resume_reading()  # type: ignore[misc]
        parser = self._callback_parser
        self._early = parser.remaining() if parser else b""
        if parser and parser.remaining_truncated:
            self._close_transport()

    def _arm_keepalive_timer(self) -> None:
        """Between two requests, after the parser is reset: go on with what has arrived. `tick` keeps the time."""
        if self._early:
            early, self._early = self._early, b""
            self._feed_callback_parser(early)

    def _is_websocket_upgrade(self, _request: CallbackRequest) -> bool:
        """Answer a request to switch to WebSocket as the plain HTTP that it is otherwise."""
        return False

    def _send_error_response(self, status: int, message: str) -> None:
        """Tell of a request that isn't HTTP, in JSON like all else; where nobody is left to be told, do nothing."""
        if self._closed:
            return
        self.app.count_refused(status, Refusal.NOT_HTTP)
        body = refusal_body(status, f"{self._get_reason_phrase(status)}: {message}"[:300])
        head = f"HTTP/1.1 {status} {self._get_reason_phrase(status)}\r\nContent-Type: application/json\r\n"
        end = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._safe_write(head.encode() + HEADERS + end.encode() + body)


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
