"""The connections of the process: accepts them, limits their number and time, and drains them at the end.

`http_protocol.py` says how long a handshake, a request and idleness may last (`HANDSHAKE_SECONDS` and others).
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from email.utils import formatdate

from webhook.server.body_budget import BodyBudget
from webhook.server.flask_runner import FlaskRunner
from webhook.server.http_protocol import HttpProtocol
from webhook.server.review_handler import ReviewHandler
from webhook.server.review_queue import ReviewQueue

log = logging.getLogger("tokenguard")
MAX_CONNECTIONS = 2000
TICK_SECONDS = 1.0
DRAIN_DELAY_SECONDS = 0.2
"""How long idle connections are kept after the signal to stop, for requests that are already on their way."""
ACCEPT_RETRY_SECONDS = 0.5
ACCEPT_LOG_SECONDS = 60.0
_POLL_SECONDS = 0.02


class HttpServer:
    """Answers the connections of listening sockets, in one event loop.

    `reviews` answers reviews, and `flask` all other requests. While `is_stopping`, each answer is the last of its
    connection. `now` is the loop's time and `date` the HTTP date, both updated once a second.
    """

    def __init__(
        self,
        handler: ReviewHandler,
        flask: FlaskRunner,
        tls: ssl.SSLContext,
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.handler = handler
        self.reviews = ReviewQueue(handler)
        self.flask = flask
        self.tls = tls
        self.bodies = BodyBudget(handler.max_body_bytes)
        self.is_stopping = False
        self._loop = asyncio.get_running_loop()
        self._max_connections = max_connections
        self._connections: dict[HttpProtocol, None] = {}
        """Those that have made progress last are at the end."""
        self._handshakes: dict[HttpProtocol, None] = {}
        self._has_turn = False
        self._listeners: list[socket.socket] = []
        self._greetings: set[asyncio.Task[object]] = set()
        self._log_again_at = 0.0
        self.tick()

    def listen(self, listener: socket.socket) -> None:
        """Accept connections from a listening socket, until `drain`."""
        listener.settimeout(0)
        self._listeners.append(listener)
        self._loop.add_reader(listener, self._accept, listener)

    def tick(self) -> None:
        """Update the time and end connections that have timed out. To be called once a second, until `drain`."""
        self.now = self._loop.time()
        self.date = formatdate(usegmt=True).encode()
        for connection in list(self._connections):
            if connection.deadline <= self.now:
                connection.time_out()

    async def drain(self, seconds: float) -> None:
        """Accept no more connections, answer what has arrived and close, within `seconds`."""
        while self._listeners:
            listener = self._listeners.pop()
            self._loop.remove_reader(listener)
            listener.close()
        self.is_stopping = True
        self.reviews.stop_holding()
        await asyncio.sleep(DRAIN_DELAY_SECONDS)
        deadline = self._loop.time() + seconds
        while self._loop.time() < deadline:
            self.tick()
            for connection in list(self._connections):
                if connection.is_idle:
                    connection.close()
            if all(connection.is_done for connection in self._connections):
                return
            await asyncio.sleep(_POLL_SECONDS)

    # What connections call.

    def admit(self, connection: HttpProtocol) -> None:
        """Add a connection. Past the limit, close another one of the largest group: nobody can displace all others'.

        Of that group it is the one that has made no progress for longest: whose handshake, or last answer, is the
        oldest. One whose answer is being prepared stays; this one is closed if there is no other.
        """
        if len(self._connections) >= self._max_connections:
            candidates = [candidate for candidate in self._connections if not candidate.is_answering]
            sizes = Counter(candidate.group for candidate in candidates)
            displaced = max(candidates, key=lambda candidate: sizes[candidate.group], default=connection)
            self.dismiss(displaced)
            displaced.abort()
        self._connections[connection] = None

    def refresh(self, connection: HttpProtocol) -> None:
        """Note that a connection has made progress."""
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def queue_handshake(self, connection: HttpProtocol) -> None:
        """Have a handshake go on, one in each turn of the event loop: a step takes longer than a review does."""
        self._handshakes[connection] = None
        if not self._has_turn:
            self._has_turn = True
            self._loop.call_soon(self._continue_handshake)

    def dismiss(self, connection: HttpProtocol) -> None:
        """Remove a connection that has ended."""
        self._connections.pop(connection, None)
        self._handshakes.pop(connection, None)

    def _continue_handshake(self) -> None:
        connection = next(iter(self._handshakes), None)
        if connection:
            del self._handshakes[connection]
            connection.go_on()
        self._has_turn = bool(self._handshakes)
        if self._has_turn:
            self._loop.call_soon(self._continue_handshake)

    # From the socket to the connection.

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # the client has left
        except OSError as error:  # no more open files, no memory, or no network
            self._pause_accepting(listener, error)
            return
        client.settimeout(0)
        task = self._loop.create_task(self._greet(client))
        self._greetings.add(task)
        task.add_done_callback(self._greetings.discard)

    async def _greet(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._loop.connect_accepted_socket(lambda: HttpProtocol(self), client)

    def _pause_accepting(self, listener: socket.socket, error: OSError) -> None:
        if self._loop.time() >= self._log_again_at:
            log.error("cannot accept connections, they are queued: %s", error.strerror)
            self._log_again_at = self._loop.time() + ACCEPT_LOG_SECONDS
        self._loop.remove_reader(listener)
        self._loop.call_later(ACCEPT_RETRY_SECONDS, self._resume_accepting, listener)

    def _resume_accepting(self, listener: socket.socket) -> None:
        if not self.is_stopping:
            self._loop.add_reader(listener, self._accept, listener)
