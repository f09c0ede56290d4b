"""Reviews that wait for their evaluation: first come, first served."""

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, cast

from webhook.server.http_message import HttpResponse, Request
from webhook.server.review_handler import ReviewHandler

if TYPE_CHECKING:
    from webhook.core.admission_request import Phase
    from webhook.server.http_protocol import HttpProtocol

HOLD_SECONDS = 3.0
"""How long reviews wait at most for the state of a process that starts: less than the webhooks' timeoutSeconds, 5."""
REVIEWS_PER_TURN = 2


class ReviewQueue:
    """Has reviews evaluated in the event loop; they are held until `stop_holding`, for `HOLD_SECONDS` at most.

    After every few reviews the loop reads what has arrived meanwhile. If each were evaluated as soon as it is read, a
    review that arrives just after its connection's turn would wait until all others have been evaluated twice.

    Slow reviews are evaluated in a thread beside the loop, one after the other: all others go on.
    """

    def __init__(self, handler: ReviewHandler) -> None:
        self._handler = handler
        self._reviews: deque[tuple[Request, HttpProtocol, float]] = deque()
        self._slow: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._is_holding = True
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(HOLD_SECONDS, self.stop_holding)

    def handle(self, request: Request, connection: "HttpProtocol") -> None:
        """Finish a review, later, unless its client has left before its turn."""
        self._reviews.append((request, connection, perf_counter()))
        if len(self._reviews) == 1 and not self._is_holding:
            self._loop.call_soon(self._evaluate_some)

    def stop_holding(self) -> None:
        """Evaluate held reviews: the state is loaded, or will not be soon."""
        if self._is_holding and self._reviews:
            self._loop.call_soon(self._evaluate_some)
        self._is_holding = False

    def _evaluate_some(self) -> None:
        reviews = [self._reviews.popleft() for _ in range(min(len(self._reviews), REVIEWS_PER_TURN))]
        if self._reviews:
            self._loop.call_soon(self._evaluate_some)
        for request, connection, arrived in reviews:
            if self._has_client_left(request, connection, arrived):
                continue
            response = self._response(request, arrived)
            if response is not None:
                connection.finish(request, response)
                continue
            task = self._loop.create_task(self._finish_slow(request, connection, arrived))
            self._slow.add(task)
            task.add_done_callback(self._slow.discard)

    def _has_client_left(self, request: Request, connection: "HttpProtocol", arrived: float) -> bool:
        """Return whether nobody waits for the answer any more; if so, abandon the review."""
        if not connection.has_client_left(perf_counter() - arrived):
            return False
        self._handler.abandon(cast("Phase", request.phase))
        connection.abort()
        return True

    def _response(self, request: Request, arrived: float) -> HttpResponse | None:
        """Return the answer to a review, or None if its evaluation is slow."""
        handler = self._handler
        try:
            review = handler.read(bytes(request.body), cast("Phase", request.phase), arrived)
            if isinstance(review, HttpResponse):
                return review
            return None if review.is_slow else handler.respond(review, handler.evaluate(review))
        except Exception as error:  # noqa: BLE001 - there has to be an answer
            return self._error(error)

    async def _finish_slow(self, request: Request, connection: "HttpProtocol", arrived: float) -> None:
        """Finish a slow review in its turn, and read it again then: while it waits, it takes only its body's memory."""
        handler = self._handler
        async with self._turn:
            if self._has_client_left(request, connection, arrived):
                return
            try:
                review = handler.read(bytes(request.body), cast("Phase", request.phase), arrived)
                response = (
                    review if isinstance(review, HttpResponse)
                    else handler.respond(review, await asyncio.to_thread(handler.evaluate, review))
                )  # fmt: skip
            except Exception as error:  # noqa: BLE001 - as above
                response = self._error(error)
        connection.finish(request, response)

    def _error(self, error: Exception) -> HttpResponse:
        return self._handler.too_many() if isinstance(error, MemoryError) else self._handler.internal_error(error)
