"""An `HttpServer` in the test's own event loop, and clients of it."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import NamedTuple

from tests.recorded_reviews import recorded
from tests.server.replica import Replica
from tests.serving import POLICY, POST
from webhook.server.endpoints import create_app
from webhook.server.flask_runner import FlaskRunner
from webhook.server.http_server import MAX_CONNECTIONS, HttpServer
from webhook.server.metrics.collector import MetricsCollector
from webhook.server.tls_stream import TlsStream

BODY = recorded("pod-plain.pods", "mutate")
REVIEW = POST % len(BODY) + BODY
PAGE = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
LAST_REVIEW, LAST_PAGE = (request.replace(b"Host: a", b"Host: a\r\nConnection: close", 1) for request in (REVIEW, PAGE))
CLIENT = ssl.create_default_context()
CLIENT.check_hostname, CLIENT.verify_mode = False, ssl.CERT_NONE


class Running(NamedTuple):
    """A server that answers, and what it is made of."""

    server: HttpServer
    replica: Replica
    address: tuple[str, int]

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(*self.address, ssl=CLIENT)
        try:
            yield reader, writer
        finally:
            writer.close()

    def blocking_client(self) -> ssl.SSLSocket:
        return CLIENT.wrap_socket(socket.create_connection(self.address, timeout=20))

    async def answer(self, sent: bytes) -> bytes:
        """Send something over a new connection, and return what comes until the end."""
        async with self.connection() as (reader, writer):
            writer.write(sent)
            return await answers(reader, 5)


class TlsClient:
    """A client's side of TLS, over bytes; `sent` is what it sends."""

    def __init__(self) -> None:
        self._received, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = CLIENT.wrap_bio(self._received, self.sent)

    def step(self, received: bytes = b"") -> bool:
        """Go on with the handshake; return whether it is complete."""
        self._received.write(received)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def connect(self, stream: TlsStream) -> None:
        """Complete the handshake with a server's side."""
        while not self.step(stream.pending()):
            stream.receive(memoryview(self.sent.read()))
            stream.continue_handshake()
        stream.receive(memoryview(self.sent.read()))
        assert stream.continue_handshake()


async def answers(reader: asyncio.StreamReader, seconds: float = 0.5) -> bytes:
    received = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while piece := await reader.read(65536):
                received += piece
    return received


def end_without_tls(client: ssl.SSLSocket) -> None:
    """End the client's side of the TCP connection; it goes on reading."""
    with socket.socket(fileno=socket.dup(client.fileno())) as plain:
        plain.shutdown(socket.SHUT_WR)


def statuses(received: bytes) -> list[bytes]:
    return [answer[:3] for answer in received.split(b"HTTP/1.1 ")[1:]]


@contextlib.asynccontextmanager
async def running(
    tls: ssl.SSLContext, policy: str = POLICY, *, holds: bool = False, max_connections: int = MAX_CONNECTIONS
) -> AsyncIterator[Running]:
    replica = Replica(policy)
    app = create_app(replica.state, replica.handler, MetricsCollector(replica.metrics, replica.state))
    server = HttpServer(
        replica.handler, FlaskRunner(app, replica.handler.internal_error), tls, max_connections=max_connections
    )
    if not holds:
        server.reviews.stop_holding()
    listener = socket.create_server(("127.0.0.1", 0))
    server.listen(listener)
    try:
        yield Running(server, replica, listener.getsockname())
    finally:
        await server.drain(1)
