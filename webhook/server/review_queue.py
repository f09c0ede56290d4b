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
    """

    def __init__(self, handler: ReviewHandler) -> None:
        self._handler = handler
        self._reviews: deque[tuple[Request, HttpProtocol, float]] = deque()
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
            if connection.has_client_left(perf_counter() - arrived):
                self._handler.abandon(cast("Phase", request.phase))
                connection.abort()
            else:
                connection.finish(request, self._response(request, arrived))

    def _response(self, request: Request, arrived: float) -> HttpResponse:
        try:
            return self._handler.handle(bytes(request.body), cast("Phase", request.phase), arrived)
        except MemoryError:
            return self._handler.too_many()
        except Exception as error:  # noqa: BLE001 - there has to be an answer
            return self._handler.internal_error(error)
