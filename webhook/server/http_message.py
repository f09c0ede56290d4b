"""Requests as they arrive, and responses as they are sent."""

from http import HTTPStatus
from typing import NamedTuple

from webhook.core.admission_request import Phase
from webhook.server.body_budget import BodyBudget
from webhook.server.http_errors import Refusal

MAX_HEAD_BYTES = 16 << 10
"""An API server sends 2 KiB. A connection holds at most one head and one TLS record."""
MAX_URL_BYTES = 2048
HEAD_TOO_LARGE = 431, Refusal.NOT_HTTP, "the request headers are too large"
_VERSIONS = frozenset({"1.0", "1.1"})

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_RESPONSE = (
    b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nDate: %b\r\n"
    b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n%b\r\n%b"
)
"""Every response is what its type says, for the client that asked, at this moment."""
_OK = _RESPONSE.replace(b"%d %b", b"200 OK", 1).replace(b"%b", b"application/json", 1)


class HttpResponse(NamedTuple):
    """An HTTP status with a body, and the methods that are allowed if another was used."""

    status: int
    body: bytes
    content_type: str = "application/json"
    allow: str = ""


class Request:
    """One request: its head, and its body as far as it has arrived.

    `error` is the response if it is not evaluated. `held_bytes` are what its body takes of the server's budget.
    `is_last` says that nothing follows it on its connection.
    """

    method = url = b""
    phase: Phase | None = None
    content_type = content_encoding = ""
    size = head_bytes = received_bytes = held_bytes = 0
    has_head = is_chunked = expects_continue = is_last = False
    body: bytes | bytearray = b""
    error: HttpResponse | None = None

    def read_header(self, name: bytes, value: bytes) -> None:
        """Read a header; `name` in any case."""
        self.head_bytes += len(name) + len(value)
        name = name.lower()
        if name == b"content-length":
            self.size = int(value.lstrip(b"0") or b"0")  # the parser rejects 2 ** 64 and more
        elif name == b"content-type":
            self.content_type = value.decode("latin-1")
        elif name == b"content-encoding":
            self.content_encoding = value.decode("latin-1")
        elif name == b"transfer-encoding":
            self.is_chunked = True
        elif name == b"expect":
            self.expects_continue = value.lower() == b"100-continue"

    def finish_head(self, method: bytes, version: str) -> tuple[int, Refusal, str] | None:
        """Finish the head; return status, refusal and reason if the request cannot be read further, else None."""
        self.has_head = True
        self.method = method
        if not self.url.startswith(b"/"):  # absolute-form is accepted, too (RFC 9112, 3.2.2)
            _, is_absolute, rest = self.url.partition(b"://")
            self.url = b"/" + rest.partition(b"/")[2] if is_absolute else self.url
        if version not in _VERSIONS:
            return 505, Refusal.NOT_HTTP, "send the request as HTTP/1.1"
        if len(self.url) > MAX_URL_BYTES:
            return 414, Refusal.NOT_HTTP, f"the URL is longer than {MAX_URL_BYTES} bytes"
        if self.is_chunked:
            return 411, Refusal.NO_LENGTH, "send the body with a Content-Length"
        return HEAD_TOO_LARGE if self.head_bytes > MAX_HEAD_BYTES else None

    def add_to_body(self, piece: bytes, budget: BodyBudget) -> bool:
        """Add a piece of the body; return False if the server has no memory for it."""
        if len(piece) == self.size:  # nearly all arrive in one TLS record
            self.body = piece
            return True
        if not budget.resize(self.held_bytes, self.held_bytes + len(piece)):
            return False
        self.held_bytes += len(piece)
        self.body = self.body or bytearray()
        self.body += piece
        return True

    def drop_body(self, budget: BodyBudget) -> None:
        """Give its memory back; a body that has arrived in one piece is not counted."""
        if self.held_bytes:
            budget.resize(self.held_bytes, 0)
            self.held_bytes = 0
            self.body = b""


def encode_response(request: Request, response: HttpResponse, date: bytes, *, is_last: bool) -> bytes:
    """Return what is sent; `is_last` says that the connection ends with it."""
    status, body, content_type, allow = response
    if status == 200 and request.phase and not is_last:  # nearly all
        return _OK % (len(body), date, b"", body)
    more = f"Allow: {allow}\r\n".encode() if allow else b""
    if is_last:
        more += b"Connection: close\r\n"
    sent = b"" if request.method == b"HEAD" else body
    return _RESPONSE % (status, _REASONS[status], content_type.encode(), len(body), date, more, sent)
