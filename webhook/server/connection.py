"""A client's connection: gunicorn's ASGI protocol, made to let go of what is dead and to lose nothing of what arrives.

What is overridden stands in gunicorn/asgi/protocol.py (26.2). There, a connection that idles is never closed: its timer
is cancelled as soon as it is set.
"""

import asyncio
import asyncio.sslproto
from collections.abc import Callable
from typing import Any, Protocol, cast

from gunicorn.asgi import protocol
from gunicorn.asgi.parser import CallbackRequest
from gunicorn.asgi.protocol import ASGIProtocol

from webhook.server.asgi import CLIENT_IS_KNOWN, CLOSE
from webhook.server.refusals import Refusal, refusal_body
from webhook.server.tls import shows_known_certificate

HEADERS = b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
"""In every answer: it is what its type says, for who asked, at this moment."""
protocol._CACHED_SERVER_HEADER = HEADERS  # type: ignore[attr-defined]  # noqa: SLF001 - in place of gunicorn's name

IDLE_SECONDS = 95
"""The API server keeps idle connections for 90 s; it should be the one to close them."""
BUSY_SECONDS = 60
TLS_BUFFER_BYTES = 32 << 10
"""What each connection holds to read into, as long as it lasts: two of TLS's records. asyncio takes 256 KiB, with which
2,000 idle connections take more memory than a replica has."""
asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES


class Owner(Protocol):
    """Who holds connections: a worker of ours."""

    def admit(self, connection: "Connection") -> None:
        """Take one in."""

    def dismiss(self, connection: "Connection") -> None:
        """Forget one that has ended."""

    def parts_with_one(self) -> bool:
        """Say whether the client that is about to be answered is to connect anew; that is said of one alone."""


class Connection(ASGIProtocol):
    """One client's connection, known to its worker."""

    app: Any
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
    _is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the worker's connections."""
        super().connection_made(transport)
        self._is_known = shows_known_certificate(transport.get_extra_info("ssl_object"))
        cast("Owner", self.worker).admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave them, and let go of the parser, which holds on to its connection: so both are freed at once."""
        super().connection_lost(exc)
        cast("Owner", self.worker).dismiss(self)
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

    def _send_response_start(self, status: int, headers: list[tuple[bytes, bytes]], request: CallbackRequest) -> None:
        """Have this be the last answer here where it says so, or where the client had better connect anew."""
        self._is_over = CLOSE in headers
        if not self._is_over and cast("Owner", self.worker).parts_with_one():
            headers = [*headers, CLOSE]
            self._is_over = True
        super()._send_response_start(status, headers, request)  # type: ignore[misc]

    def _feed_callback_parser(self, data: bytes) -> bool:
        """Answer what isn't HTTP with a 400; gunicorn knows only some of its own parser's errors."""
        try:
            return bool(super()._feed_callback_parser(data))  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - whatever a client sends, it is no error of ours
            self._send_error_response(400, str(error))
            self._close_transport()
            return False

    def _resume_reading(self) -> None:
        """Between two requests, before the parser is reset: keep what has arrived early, which gunicorn would lose.

        And close after an answer that says so; gunicorn goes by what the request says alone.
        """
        if self._is_over:
            self._close_transport()
            return
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
