"""One client's connection: HTTP/1.1 over TLS.

Limits of time and the order of answers are decided here. A `RequestReader` reads the requests. Connections belong to an
`HttpServer`. A `ReviewQueue` answers reviews, and a Flask application all other requests.
"""

import asyncio
import select
import ssl
from collections import deque
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, cast

from webhook.server.http_errors import Refusal
from webhook.server.http_message import HttpResponse, Request, encode_response
from webhook.server.request_reader import MAX_DISCARDED_BYTES, RequestReader
from webhook.server.tls_stream import MAX_RECORD_BYTES, TlsStream

if TYPE_CHECKING:
    from webhook.server.http_server import HttpServer

HANDSHAKE_SECONDS = 10
IDLE_SECONDS = 95
"""The API server closes idle connections after 90 s, and should be the one that does."""
HEAD_SECONDS = 10
BODY_SECONDS = 10
"""As long as the API server waits for the answer by default."""
MIN_TIMEOUT_SECONDS = 1.0
"""The least `timeoutSeconds` of a webhook: no API server gives up earlier."""
LINGER_SECONDS = 5
"""How long input is discarded after the last answer, so that the client can read that answer (RFC 9112, 9.6)."""
MAX_PIPELINED = 64
"""How many requests of one connection wait while an earlier one is answered."""

_BUFFER = memoryview(bytearray(MAX_RECORD_BYTES))
"""Shared by all connections: received bytes are decrypted before the next event."""
_CLIENT_LEFT = getattr(select, "POLLRDHUP", 0)
"""That a client has ended its side; not every system reports that before all that it sent is read."""


class Stage(Enum):
    """How far a connection is towards its end."""

    OPEN = "requests are read"
    LAST = "no further request is read; answers may still be due"
    LINGERING = "all is sent; input is discarded until the client ends its side, too"


class HttpProtocol(asyncio.BufferedProtocol):
    """One connection, from its TLS handshake to its end.

    `deadline` is when its current step times out, in seconds of the event loop's clock. `client` is an address.
    """

    _transport: asyncio.Transport
    client: str

    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._tls = TlsStream(server.tls)
        self._reader = RequestReader(server.handler, server.bodies, self._tls)
        self._waiting: deque[Request] = deque()
        self._in_progress: Request | None = None
        self._is_buffer_full = False
        self._stage = Stage.OPEN
        self._discarded = 0
        self.deadline = server.now + HANDSHAKE_SECONDS

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Add the connection to the server's."""
        self._transport = cast("asyncio.Transport", transport)
        self.client = (transport.get_extra_info("peername") or ("",))[0]
        self._server.admit(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Remove the connection from the server's."""
        self._server.dismiss(self)
        self._reader.close()
        if self._in_progress:
            self._in_progress.drop_body(self._server.bodies)
        self._stage = Stage.LAST
        self._waiting.clear()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return the buffer to receive into."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Process `nbytes` received bytes."""
        if self._stage is not Stage.OPEN:
            self._discarded += nbytes
            if self._discarded > MAX_DISCARDED_BYTES:
                self.abort()
            return
        self._tls.receive(_BUFFER[:nbytes])
        if self._in_progress:  # receive no more until these bytes can be read, after the answer
            self._transport.pause_reading()
        elif not self._tls.is_established:
            self._transport.pause_reading()
            self._server.queue_handshake(self)
        else:
            if nbytes == len(_BUFFER):  # more may follow, and uvloop would read on: other connections first
                self._transport.pause_reading()
                asyncio.get_running_loop().call_soon(self.go_on)
            self._process()

    def eof_received(self) -> bool:
        """Return whether answers are still due to a client that has ended its side."""
        self._tls.receive_end()
        self._read()
        return bool(self._in_progress or self._waiting)

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its answers."""
        self._is_buffer_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        self._is_buffer_full = False
        self.go_on()

    # What the server calls.

    @property
    def group(self) -> tuple[str, bool]:
        """The connections that it belongs to: with, or without, a finished handshake, of its client's address."""
        return self.client, self._tls.is_established

    @property
    def is_answering(self) -> bool:
        """Whether an answer is being prepared."""
        return self._in_progress is not None

    def has_client_left(self, waited: float) -> bool:
        """Return whether nobody waits for an answer, which the client has awaited for so many seconds.

        A client that has ended its side may still read. But API servers close a connection if an answer takes too
        long, which looks the same, and Go's own server, too, then cancels the request.
        """
        if waited < MIN_TIMEOUT_SECONDS or self._transport.is_closing():
            return self._transport.is_closing()
        ended = select.poll()
        ended.register(self._transport.get_extra_info("socket"), _CLIENT_LEFT)
        return bool(ended.poll(0))

    @property
    def is_idle(self) -> bool:
        """Whether no request is arriving or waiting for its answer."""
        return not (self._reader.request or self._in_progress or self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether it is idle and everything is sent."""
        return self.is_idle and not self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def close(self) -> None:
        """Close after what has been sent, without waiting for the client to end its side."""
        if self._stage is not Stage.LINGERING and self._tls.is_established:
            self._transport.write(self._tls.close())
        self._transport.close()

    def time_out(self) -> None:
        """End a step that has taken too long."""
        request = self._reader.request
        if request and request.has_head and self._stage is Stage.OPEN:
            error = self._server.handler.error(408, Refusal.TOO_SLOW, "the body did not arrive in time; try again")
            self._enqueue(self._reader.reject(error))
        else:
            self.abort()

    # From the bytes to the answer.

    def _process(self) -> None:
        """Read what has been received."""
        tls, has_failed = self._tls, False
        try:
            if not tls.is_established and tls.continue_handshake():
                self.deadline = self._server.now + IDLE_SECONDS
                self._server.refresh(self)
            self._read()
        except ssl.SSLError:
            self._stage, has_failed = Stage.LAST, True
        if self._stage is not Stage.LINGERING and (pending := tls.pending()):
            self._transport.write(pending)  # the handshake, or an alert
        if has_failed:
            self._transport.close()

    def _read(self) -> None:
        while self._stage is Stage.OPEN and not (self._in_progress or self._is_buffer_full):
            data = self._tls.read()
            if data is None:
                break
            if data:
                self._feed(data)
            else:
                self._stage = Stage.LAST
                if not self._waiting:
                    self.close()

    def _feed(self, data: memoryview) -> None:
        reader = self._reader
        before, had_head = reader.request, reader.request and reader.request.has_head
        self._enqueue(reader.feed(data))
        request = reader.request
        if not request or self._in_progress:
            return
        if request.has_head and request.expects_continue:  # behind another one, the client sends the body after a while
            request.expects_continue = False
            self._transport.write(self._tls.write(b"HTTP/1.1 100 Continue\r\n\r\n"))
        if request is not before or request.has_head != had_head:
            self.deadline = self._server.now + (BODY_SECONDS if request.has_head else HEAD_SECONDS)

    def _enqueue(self, requests: list[Request]) -> None:
        """Answer requests, after those before them; nothing that follows the last one."""
        for request in requests:
            if self._stage is not Stage.OPEN:
                request.drop_body(self._server.bodies)
                continue
            is_waiting = self._in_progress or self._waiting
            if is_waiting and len(self._waiting) == MAX_PIPELINED:
                reason = "too many pipelined requests on this connection; wait for their answers"
                request.error = self._server.handler.error(503, Refusal.TOO_MANY, reason)
                request.is_last = True
            if request.is_last:
                self._stage = Stage.LAST
            if is_waiting:
                self._waiting.append(request)
            else:
                self._answer(request)

    def _answer(self, request: Request) -> None:
        """Send the answer of a rejected request; have any other answered."""
        if request.error:
            self._respond(request, request.error)
            return
        self._in_progress = request
        self.deadline = inf
        if request.phase:
            self._server.reviews.handle(request, self)
        else:
            self._server.flask.handle(request, self.finish)

    def finish(self, request: Request, response: HttpResponse) -> None:
        """Send an answer that was prepared, and go on."""
        self._in_progress = None
        request.drop_body(self._server.bodies)
        self._respond(request, response)
        self.go_on()

    def _respond(self, request: Request, response: HttpResponse) -> None:
        is_last = request.is_last or self._server.is_stopping
        try:
            data = encode_response(request, response, self._server.date, is_last=is_last)
            if self._stage is not Stage.LINGERING and not self._transport.is_closing():
                self._transport.write(self._tls.write(data))
        except Exception as error:  # noqa: BLE001 - other connections must not wait for a bug in this one
            self._server.handler.internal_error(error)
            self.abort()
            return
        self.deadline = self._server.now + (BODY_SECONDS if self._reader.request else IDLE_SECONDS)
        self._server.refresh(self)
        if is_last:
            self._linger()

    def _linger(self) -> None:
        """Signal the end, and discard input, and what has arrived of a request, until the client ends its side, too."""
        self._reader.drop()
        self._waiting.clear()
        self.deadline = self._server.now + LINGER_SECONDS
        if not self._transport.is_closing():
            self._transport.write(self._tls.close())
            self._transport.write_eof()
        self._stage = Stage.LINGERING

    def go_on(self) -> None:
        """Answer waiting requests, then read again."""
        while self._waiting and not (self._in_progress or self._is_buffer_full or self._transport.is_closing()):
            self._answer(self._waiting.popleft())
        if self._in_progress or self._is_buffer_full or self._transport.is_closing():
            return
        if self._stage is Stage.LAST:
            self.close()  # the client has ended its side, and has its answers
            return
        self._transport.resume_reading()
        if self._tls.has_input:
            self._process()
