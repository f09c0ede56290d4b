"""From the decrypted bytes of one connection to its requests, within limits of size. The parser is llhttp."""

from typing import cast

import httptools

from webhook.server.body_budget import BodyBudget
from webhook.server.http_errors import Refusal
from webhook.server.http_message import HEAD_TOO_LARGE, MAX_HEAD_BYTES, HttpResponse, Request
from webhook.server.review_handler import PHASES, ReviewHandler
from webhook.server.tls_stream import TlsStream

MAX_DISCARDED_BYTES = 64 << 20
"""How much input is discarded, so that the client can read the answer to it."""
_PATHS = {path.encode(): phase for path, phase in PHASES.items()}


class RequestReader:
    """Reads the requests of one connection.

    `request` is the one that is arriving, if any. A request that is not to be evaluated has an `error`. Nothing is
    read after a request that is the connection's last.
    """

    _parser: httptools.HttpRequestParser | None

    def __init__(self, handler: ReviewHandler, bodies: BodyBudget, tls: TlsStream) -> None:
        self._handler, self._bodies, self._tls = handler, bodies, tls
        self._parser = httptools.HttpRequestParser(self)
        self._complete: list[Request] = []
        self._has_ended = False
        self.request: Request | None = None

    def feed(self, data: memoryview) -> list[Request]:
        """Return the requests that these bytes complete, in their order."""
        if self._has_ended:
            return []
        handler, error, before = self._handler, None, self.request
        try:
            cast("httptools.HttpRequestParser", self._parser).feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request is answered as plain HTTP, as the connection's last
        except httptools.HttpParserCallbackError as failure:
            cause = failure.__context__ or failure
            error = handler.too_many() if isinstance(cause, MemoryError) else handler.internal_error(cause)
        except httptools.HttpParserError as invalid:
            if not self._has_ended:
                error = handler.error(400, Refusal.NOT_HTTP, str(invalid))
        request = self.request
        if request and request is before and not request.has_head:
            request.received_bytes += len(data)
            if request.received_bytes > MAX_HEAD_BYTES and not error:
                error = handler.error(*HEAD_TOO_LARGE)
        if error and not self._has_ended:
            self._reject(request or Request(), error)
        complete, self._complete = self._complete, []
        return complete

    def reject(self, error: HttpResponse) -> list[Request]:
        """Return the request that is arriving, with this error, as the connection's last."""
        self._reject(self.request or Request(), error)
        complete, self._complete = self._complete, []
        return complete

    def drop(self) -> None:
        """Forget the request that is arriving."""
        if self.request:
            self.request.drop_body(self._bodies)
            self.request = None

    def close(self) -> None:
        """Read nothing more, and break the reference cycle with the parser."""
        self.drop()
        self._parser, self._has_ended = None, True

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Start a request."""
        if not self._has_ended:
            self.request = Request()

    def on_url(self, url: bytes) -> None:
        """Add a piece of the URL."""
        if self.request:
            self.request.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read a header."""
        if self.request:
            self.request.read_header(name, value)

    def on_headers_complete(self) -> None:
        """Reject the request by its head, or prepare for its body."""
        request = self.request
        if not request or not self._parser:
            return
        request.is_last = not self._parser.should_keep_alive() or self._parser.should_upgrade()
        if refusal := request.finish_head(self._parser.get_method(), self._parser.get_http_version()):
            self._reject(request, self._handler.error(*refusal))
            return
        if request.size > MAX_DISCARDED_BYTES:
            self._reject(request, self._handler.too_large())
            return
        if request.method == b"POST":
            request.phase = _PATHS.get(request.url.partition(b"?")[0])
        if request.phase:
            request.error = self._handler.check_request(
                request.content_type,
                request.content_encoding,
                request.size,
                has_client_certificate=self._tls.has_verified_client,
            )
        if request.expects_continue and (request.error or not request.phase):
            self._reject(request, request.error)  # the client has sent no body yet (RFC 9110, 10.1.1)

    def on_body(self, piece: bytes) -> None:
        """Add a piece of a review's body; the bodies of other requests are discarded."""
        request = self.request
        if request and request.phase and not request.error and not request.add_to_body(piece, self._bodies):
            self._reject(request, self._handler.too_many())

    def on_message_complete(self) -> None:
        """Finish the request."""
        if self.request:
            self._finish(self.request)

    def _finish(self, request: Request) -> None:
        self.request = None
        self._has_ended = request.is_last
        self._complete.append(request)

    def _reject(self, request: Request, error: HttpResponse | None) -> None:
        """Finish a request whose body is not read, with `error` if given; nothing after it can be read, either."""
        request.drop_body(self._bodies)
        request.error, request.is_last = error, True
        self._finish(request)
