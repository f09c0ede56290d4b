"""The two review paths, answered without a framework in between; every other path goes to the Flask application.

It can be served by any ASGI server; `webhook.server.worker` has gunicorn do it.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from asgiref.wsgi import WsgiToAsgi
from flask import Flask

from webhook.core.request import Phase
from webhook.server.bodies import Bodies, Fate, Receive, Taken, discard
from webhook.server.refusals import Refusal
from webhook.server.review import PHASES, Answer, Reviewer
from webhook.server.source import Background

Scope = MutableMapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LEAVES_CONTINUE = "leaves 100 Continue to the application"
"""A key in the lifespan's state: ASGI servers commonly send `100 Continue` themselves, gunicorn doesn't."""

CLIENT_IS_KNOWN = "tokenguard.client_is_known"
"""A key in a request's scope: its sender has shown a certificate, and it was verified."""

CLOSE = (b"connection", b"close")
"""A header of an answer after which there is no other on its connection."""

_JSON = (b"content-type", b"application/json")
_NO_BODY = {"type": "http.request", "body": b"", "more_body": False}
_CONTINUE = {"type": "http.response.informational", "status": 100}


class Application:
    """The ASGI callable. Its lifespan is the follower's: files and cluster are followed from startup to shutdown."""

    def __init__(self, reviewer: Reviewer, pages: Flask, follower: Background) -> None:
        """Take the parts."""
        self._reviewer = reviewer
        self._pages = WsgiToAsgi(pages)  # type: ignore[no-untyped-call]
        self._follower = follower
        self._bodies = Bodies(reviewer.max_body_bytes)
        self.count_refused = reviewer.count_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the lifespan."""
        if scope["type"] == "http":
            phase = PHASES.get(scope["path"])
            if phase is None or scope["method"] != "POST":
                if not any(name == b"expect" for name, _ in scope["headers"]):
                    await discard(receive)  # no page has a use for a body
                await self._pages(scope, _no_body, send)
            else:
                await self._review(phase, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    async def _review(self, phase: Phase, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer once the whole body has been taken in: whoever has an answer may send the next review."""
        state = scope.get("state", ())
        answer, expects = self._objection(scope)
        if answer:
            stays = not expects and await discard(receive)  # who waits for a 100 Continue has sent nothing yet
        else:
            if expects and LEAVES_CONTINUE in state:
                await send(_CONTINUE)
            taken = await self._bodies.take(receive)
            if taken.fate is Fate.GONE:
                return
            answer = self._answer(taken, phase)
            stays = taken.ended and taken.fate is not Fate.CROWDED_OUT
        headers = [_JSON, (b"content-length", str(len(answer.body)).encode())]
        if not stays or "stopping" in state:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _objection(self, scope: Scope) -> tuple[Answer | None, bool]:
        """Return why a review isn't read, by its headers and sender, if so, and whether its sender waits to be told."""
        media_type = length = encoding = b""
        expects = False
        for name, value in scope["headers"]:
            if name == b"content-type":
                media_type = value
            elif name == b"content-length":
                length = value
            elif name == b"content-encoding":
                encoding = value
            elif name == b"expect":
                expects = value.lower() == b"100-continue"
        size = int(length[:18]) if length.isdigit() else 0  # no limit has as many digits
        objection = self._reviewer.objection(
            media_type.decode("latin-1"), encoding.decode("latin-1"), size, known=CLIENT_IS_KNOWN in scope
        )
        return objection, expects

    def _answer(self, taken: Taken, phase: Phase) -> Answer:
        if taken.fate is Fate.WHOLE:
            return self._reviewer.answer(taken.body, phase)
        if taken.fate is Fate.TOO_LARGE:
            return self._reviewer.too_large()
        if taken.fate is Fate.CROWDED_OUT:
            return self._reviewer.refuse(503, Refusal.TOO_MANY, "too many large reviews arrive at once: try again")
        return self._reviewer.refuse(408, Refusal.TOO_SLOW, "the body didn't arrive in time: try again")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        started = asyncio.create_task(asyncio.to_thread(self._follower.start))
        over = asyncio.ensure_future(receive())
        await asyncio.wait((started, over), return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            started.result()
            await send({"type": "lifespan.startup.complete"})
        await over
        await asyncio.to_thread(self._follower.stop)
        await started  # which may have been waiting for something; what ends it has been told to
        await send({"type": "lifespan.shutdown.complete"})


async def _no_body() -> dict[str, Any]:
    return _NO_BODY
