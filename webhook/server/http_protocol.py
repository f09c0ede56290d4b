"""One client's connection: HTTP/1.1 over TLS.

What the parser (llhttp, by `httptools`) leaves open is decided here: sizes, times, the order of answers. Connections
belong to an `HttpServer`; every request that is no review goes to its Flask application.
"""

import asyncio
import ssl
from collections import deque
from math import inf
from typing import TYPE_CHECKING, cast

import httptools

from webhook.server.http_errors import Refusal
from webhook.server.http_message import HttpResponse, Request, encode_response
from webhook.server.review_handler import PHASES
from webhook.server.tls_stream import MAX_RECORD_BYTES, TlsStream

if TYPE_CHECKING:
    from webhook.core.admission_request import Phase
    from webhook.server.http_server import HttpServer

HANDSHAKE_SECONDS = 10
IDLE_SECONDS = 95
"""The API server keeps idle connections for 90 s; it should be the one to close them."""
HEAD_SECONDS = 10
BODY_SECONDS = 10
"""The API server itself waits no longer for the answer by default."""
LINGER_SECONDS = 5
"""How long a connection is read after its last answer, so that the client gets to read it (RFC 9112, 9.6)."""
MAX_DISCARDED_BYTES = 64 << 20
"""So much of what is not used is received, so that the client gets to read the answer."""
MAX_HEAD_BYTES = 16 << 10
"""An API server sends 2 KiB. Each connection may hold one head, and a TLS record of the next."""
MAX_URL_BYTES = 2048
MAX_PIPELINED = 64
"""Requests of one connection that wait for the answers to those before them."""

_BUFFER = memoryview(bytearray(MAX_RECORD_BYTES))
"""What is received is decrypted before the next event, so all connections share it."""
_VERSIONS = frozenset({"1.0", "1.1"})
_PATHS = {path.encode(): phase for path, phase in PHASES.items()}


class HttpProtocol(asyncio.BufferedProtocol):
    """One connection, from its TLS handshake to its end.

    `deadline` is when it has taken too long for what it is doing, in seconds of the server's clock.
    """

    _transport: asyncio.Transport
    _parser: httptools.HttpRequestParser | None

    def __init__(self, server: "HttpServer") -> None:
        """Take the server that it belongs to."""
        self._server = server
        self._tls = TlsStream(server.tls)
        self._request: Request | None = None
        self._waiting: deque[Request] = deque()
        self._is_answering = False
        self._is_buffer_full = False
        self._is_closing = False
        self._has_sent_all = False
        self._discarded = 0
        self.deadline = server.now + HANDSHAKE_SECONDS

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the server's connections."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._server.admit(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Leave them. The parser refers to its connection: without it both are freed at once."""
        self._server.dismiss(self)
        if self._request:
            self._drop_body(self._request)
        self._parser = None
        self._is_closing = True
        self._waiting.clear()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return where to write what is received."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received."""
        if self._is_closing:
            self._discarded += nbytes
            if self._discarded > MAX_DISCARDED_BYTES:
                self.abort()
            return
        if self._is_answering:  # this is read after the answer: hold no more of it
            self._transport.pause_reading()
        elif nbytes == len(_BUFFER):  # there may be more: other connections first, uvloop would read on
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)
        self._receive(_BUFFER[:nbytes])

    def eof_received(self) -> bool:
        """Keep the connection, which the client has ended on its side, as long as it is owed an answer."""
        self._tls.receive_end()
        self._read()
        return self._is_answering or bool(self._waiting)

    def pause_writing(self) -> None:
        """Read nothing from a client that doesn't read its answers."""
        self._is_buffer_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_buffer_full = False
        self._go_on()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._is_closing:
            return
        self._request = Request()
        if not self._is_answering:
            self.deadline = self._server.now + HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        """Take the URL, or a piece of it."""
        if self._request:
            self._request.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        request = self._request
        if not request:
            return
        request.head_bytes += len(name) + len(value)
        name = name.lower()
        if name == b"content-length":
            request.size = int(value.lstrip(b"0") or b"0")  # the parser has checked that it is less than 2 ** 64
        elif name == b"content-type":
            request.content_type = value.decode("latin-1")
        elif name == b"content-encoding":
            request.content_encoding = value.decode("latin-1")
        elif name == b"transfer-encoding":
            request.is_chunked = True
        elif name == b"expect":
            request.expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Decide whether the body is read."""
        request = self._request
        if not request or not self._parser:
            return
        request.has_head = True
        request.method = self._parser.get_method()
        if not request.url.startswith(b"/"):  # absolute-form is accepted, too (RFC 9112, 3.2.2)
            _, is_absolute, rest = request.url.partition(b"://")
            request.url = b"/" + rest.partition(b"/")[2] if is_absolute else request.url
        request.is_last = not self._parser.should_keep_alive() or self._parser.should_upgrade()
        error = self._check_head(request, self._parser.get_http_version())
        if error:
            self._reject(request, error)
            return
        if not self._is_answering:
            self.deadline = self._server.now + BODY_SECONDS
        if request.method == b"POST":
            request.phase = _PATHS.get(request.url.partition(b"?")[0])
        if request.phase:
            request.error = self._server.handler.check_request(
                request.content_type,
                request.content_encoding,
                request.size,
                has_client_certificate=self._tls.has_verified_client,
            )
        if request.expects_continue:
            self._continue(request)

    def on_body(self, piece: bytes) -> None:
        """Take a piece of a review's body; that of another request is discarded."""
        request = self._request
        if not request or not request.phase or request.error:
            return
        if len(piece) == request.size:  # nearly all arrive in one TLS record
            request.body = piece
            return
        held = request.held_bytes
        if self._server.bodies.resize(held, held + len(piece)):
            request.held_bytes = held + len(piece)
            request.body = request.body or bytearray()
            request.body += piece
        else:
            self._reject(request, self._too_many())

    def on_message_complete(self) -> None:
        """Answer the request, now or after those before it."""
        request, self._request = self._request, None
        if request:
            self._is_closing = request.is_last
            self._enqueue(request)

    # What the server calls.

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun to arrive or waits for its answer."""
        return not (self._request or self._is_answering or self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be sent."""
        return self.is_idle and not self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def close(self) -> None:
        """Close after what has been sent, without waiting for the client's end."""
        if not self._has_sent_all and self._tls.is_established:
            self._transport.write(self._tls.close())
        self._transport.close()

    def time_out(self) -> None:
        """End what takes too long."""
        request = self._request
        if request and request.has_head and not self._is_closing:
            error = self._server.handler.error(408, Refusal.TOO_SLOW, "the body did not arrive in time; try again")
            self._reject(request, error)
        else:
            self.abort()

    def evaluate(self, request: Request) -> None:
        """Answer a review whose turn has come, if the client has not left."""
        handler = self._server.handler
        try:
            response = handler.handle(bytes(request.body), cast("Phase", request.phase)) if self._parser else None
        except MemoryError:
            response = self._too_many()
        except Exception as error:  # noqa: BLE001 - there has to be an answer
            response = handler.internal_error(error)
        self._drop_body(request)
        if response:
            self._respond_later(request, response)

    # From the bytes to the answer.

    def _receive(self, data: memoryview) -> None:
        tls = self._tls
        is_handshake = not tls.is_established
        has_failed = False
        try:
            tls.receive(data)
            if is_handshake and tls.is_established:
                self.deadline = self._server.now + IDLE_SECONDS
            self._read()
        except ssl.SSLError:
            self._is_closing = has_failed = True
        if not self._has_sent_all and (pending := tls.pending()):
            self._transport.write(pending)  # the handshake, or the alert that says what is wrong
        if has_failed:
            self._transport.close()

    def _read(self) -> None:
        while not (self._is_answering or self._is_buffer_full or self._is_closing):
            data = self._tls.read()
            if data is None:
                break
            if data:
                self._feed(data)
            else:
                self._is_closing = True
                if not self._waiting:
                    self.close()

    def _feed(self, data: memoryview) -> None:
        error, before = None, self._request
        try:
            cast("httptools.HttpRequestParser", self._parser).feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request was answered as plain HTTP, and was the connection's last
        except httptools.HttpParserCallbackError as failure:
            cause = failure.__context__ or failure
            error = self._too_many() if isinstance(cause, MemoryError) else self._server.handler.internal_error(cause)
        except httptools.HttpParserError as invalid:
            if not self._is_closing:
                error = self._server.handler.error(400, Refusal.NOT_HTTP, str(invalid))
        request = self._request
        if request and request is before and not request.has_head:
            request.received_bytes += len(data)
            if request.received_bytes > MAX_HEAD_BYTES:
                error = error or self._head_too_large()
        if error and not self._is_closing:
            self._reject(request or Request(), error)

    def _check_head(self, request: Request, version: str) -> HttpResponse | None:
        """Return why a request is not read further, or None."""
        handler = self._server.handler
        if version not in _VERSIONS:
            return handler.error(505, Refusal.NOT_HTTP, "send the request as HTTP/1.1")
        if len(request.url) > MAX_URL_BYTES:
            return handler.error(414, Refusal.NOT_HTTP, "the URL is too long")
        if request.is_chunked:
            return handler.error(411, Refusal.NO_LENGTH, "send the body with a Content-Length")
        if request.head_bytes > MAX_HEAD_BYTES:
            return self._head_too_large()
        return handler.too_large() if request.size > MAX_DISCARDED_BYTES else None

    def _reject(self, request: Request, error: HttpResponse) -> None:
        """Answer a request before it has arrived."""
        self._drop_body(request)
        request.error = error
        self._enqueue_last(request)

    def _enqueue_last(self, request: Request) -> None:
        """Answer a request whose body is not read: nothing after it is read, either."""
        self._request = None
        request.is_last = self._is_closing = True
        self._enqueue(request)

    def _continue(self, request: Request) -> None:
        """Answer `Expect: 100-continue`: the client has sent no body yet (RFC 9110, 10.1.1)."""
        if request.error or not request.phase:
            self._enqueue_last(request)
        elif not self._is_answering:  # else the client sends the body when it has waited for long enough
            self._transport.write(self._tls.write(b"HTTP/1.1 100 Continue\r\n\r\n"))

    def _enqueue(self, request: Request) -> None:
        if self._is_answering or self._waiting:
            if len(self._waiting) == MAX_PIPELINED:
                why = "too many pipelined requests on this connection; wait for their answers"
                request.error = self._server.handler.error(503, Refusal.TOO_MANY, why)
                request.is_last = self._is_closing = True
            self._waiting.append(request)
        else:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        """Answer a request that is not evaluated; have any other answered."""
        if request.error:
            self._respond(request, request.error)
            return
        self._is_answering = True
        self.deadline = inf
        if request.phase:
            self._server.enqueue(self, request)
        else:
            self._server.pages.handle(request, self._respond_later)

    def _respond_later(self, request: Request, response: HttpResponse) -> None:
        self._is_answering = False
        self._respond(request, response)
        self._go_on()

    def _respond(self, request: Request, response: HttpResponse) -> None:
        is_last = request.is_last or self._server.is_stopping
        data = encode_response(request, response, self._server.date, is_last=is_last)
        if not self._has_sent_all and not self._transport.is_closing():
            self._transport.write(self._tls.write(data))
        self.deadline = self._server.now + (BODY_SECONDS if self._request else IDLE_SECONDS)
        if is_last:
            self._linger()

    def _linger(self) -> None:
        """Tell the client that nothing follows, and discard what it still sends until it has ended, too."""
        self._is_closing = True
        self._waiting.clear()
        self.deadline = self._server.now + LINGER_SECONDS
        if not self._transport.is_closing():
            self._transport.write(self._tls.close())
            self._transport.write_eof()
        self._has_sent_all = True

    def _go_on(self) -> None:
        """Answer what has arrived meanwhile, then read on."""
        while self._waiting and not (self._is_answering or self._is_buffer_full):
            self._answer(self._waiting.popleft())
        if self._is_answering or self._is_buffer_full or self._transport.is_closing():
            return
        if self._is_closing and not self._has_sent_all:
            self.close()  # the client has ended, and has its answers
            return
        self._transport.resume_reading()
        if self._tls.has_input:
            self._receive(_BUFFER[:0])

    def _head_too_large(self) -> HttpResponse:
        return self._server.handler.error(431, Refusal.NOT_HTTP, "the request headers are too large")

    def _too_many(self) -> HttpResponse:
        return self._server.handler.error(503, Refusal.TOO_MANY, "too many large reviews at once; try again")

    def _drop_body(self, request: Request) -> None:
        self._server.bodies.resize(request.held_bytes, 0)
        request.held_bytes = 0
        request.body = b""
