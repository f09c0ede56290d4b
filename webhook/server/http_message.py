"""Requests as they arrive, and responses as they are sent."""

from http import HTTPStatus
from typing import NamedTuple

from webhook.core.admission_request import Phase

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
    `is_last` says that nothing follows it on its connection, `is_abandoned` that the connection has ended.
    """

    method = url = b""
    phase: Phase | None = None
    content_type = content_encoding = ""
    size = head_bytes = received_bytes = held_bytes = 0
    has_head = is_chunked = expects_continue = is_last = is_abandoned = False
    body: bytes | bytearray = b""
    error: HttpResponse | None = None


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
