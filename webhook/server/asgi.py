"""The two review paths, answered without a framework in between; every other path goes to the Flask application.

It can be served by any ASGI server; `webhook.server.worker` has gunicorn do it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

from asgiref.wsgi import WsgiToAsgi
from flask import Flask

from webhook.core.request import Phase
from webhook.server.follow import Follower
from webhook.server.review import PHASES, Answer, Reviewer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BODY_SECONDS = 10.0
"""How long a review's body may take to arrive: the API server itself waits no longer for the answer by default."""
DISCARDED_BYTES = 64 << 20
"""How much of a body that isn't wanted is taken in, so that its sender gets to read the answer."""

NOT_JSON = "send the review as Content-Type: application/json"
ENCODED = "send the review as it is, without a Content-Encoding"
_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")
_NO_BODY = {"type": "http.request", "body": b"", "more_body": False}


class _Taken(NamedTuple):
    """What arrived of a body: all of it, or only so many bytes."""

    body: bytes
    size: int
    complete: bool


class Application:
    """The ASGI callable. Its lifespan is the follower's: files are followed from startup to shutdown."""

    def __init__(self, reviewer: Reviewer, pages: Flask, follower: Follower, max_body_bytes: int) -> None:
        """Take the parts; `max_body_bytes` is the largest review that is read."""
        self._reviewer = reviewer
        self._pages = WsgiToAsgi(pages)  # type: ignore[no-untyped-call]
        self._follower = follower
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the lifespan."""
        if scope["type"] == "http":
            phase = PHASES.get(scope["path"])
            if phase is None or scope["method"] != "POST":
                await _take(receive, 0)  # no page has a use for a body
                await self._pages(scope, _no_body, send)
            else:
                await self._review(phase, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    async def _review(self, phase: Phase, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer once the whole body has been taken in: whoever has an answer may send the next review."""
        answer = self._objection(scope["headers"])
        taken = await _take(receive, 0 if answer else self._max_body_bytes)
        if answer is None:
            if taken.size > self._max_body_bytes:
                answer = self._too_large()
            elif not taken.complete:
                answer = self._reviewer.refuse(408, "the body didn't arrive in time")  # or the client is gone
            else:
                answer = self._reviewer.answer(taken.body, phase)
        headers = [_JSON, (b"content-length", str(len(answer.body)).encode())]
        if not taken.complete or ("state" in scope and "stopping" in scope["state"]):
            headers.append(_CLOSE)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _objection(self, headers: Iterable[tuple[bytes, bytes]]) -> Answer | None:
        """Return why a review with these headers isn't read, or None where it is."""
        media_type = length = b""
        for name, value in headers:
            if name == b"content-type":
                media_type = value
            elif name == b"content-length":
                length = value
            elif name == b"content-encoding" and value != b"identity":
                return self._reviewer.refuse(415, ENCODED)
        if media_type != b"application/json" and not is_json(media_type.decode("latin-1")):
            return self._reviewer.refuse(415, NOT_JSON)
        if len(length) > 18 or (length.isdigit() and int(length) > self._max_body_bytes):
            return self._too_large()
        return None

    def _too_large(self) -> Answer:
        return self._reviewer.refuse(413, f"the review is larger than {self._max_body_bytes} bytes")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.to_thread(self._follower.start)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self._follower.stop)
        await send({"type": "lifespan.shutdown.complete"})


def is_json(media_type: str) -> bool:
    """Say whether a Content-Type is JSON, whatever its parameters."""
    return media_type.partition(";")[0].strip().lower() == "application/json"


async def _no_body() -> dict[str, Any]:
    return _NO_BODY


async def _take(receive: Receive, most: int) -> _Taken:
    """Take in a whole body, up to bounds of time and size; of one that is larger than `most` bytes keep nothing."""
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:  # the common case: it came in one piece
        return _Taken(message["body"], len(message["body"]), complete=True)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while message["type"] == "http.request":
                size += len(message["body"])
                if size <= most:
                    chunks.append(message["body"])
                else:
                    chunks.clear()
                if not message["more_body"] or size > most + DISCARDED_BYTES:
                    return _Taken(b"".join(chunks), size, complete=not message["more_body"])
                message = await receive()
    except TimeoutError:
        pass
    return _Taken(b"", size, complete=False)
