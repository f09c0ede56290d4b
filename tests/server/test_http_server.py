"""The HTTP server by itself, on both event loops: holding reviews at the start, the order of answers, draining."""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple

import pytest
import uvloop

from tests.server.test_lifecycle import BODY, head
from tests.server.test_review import CLUSTER, Judge
from tests.serving import POLICY
from webhook.core.policy.document import read_policy
from webhook.pki.issue import create_self_signed
from webhook.server import http_server
from webhook.server.app import create_app
from webhook.server.http_message import HttpResponse
from webhook.server.http_server import HttpServer
from webhook.server.metrics.collector import MetricsCollector
from webhook.server.pages import Pages
from webhook.server.review_handler import ReviewHandler
from webhook.server.serving_certificate import server_context

REVIEW = head(BODY) + BODY
PAGE = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
LAST_PAGE = PAGE.replace(b"Host: a", b"Host: a\r\nConnection: close")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Running(NamedTuple):
    """A server that answers, and what it goes by."""

    server: HttpServer
    judge: Judge
    address: tuple[str, int]

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(*self.address, ssl=context)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def answer(self, sent: bytes) -> bytes:
        """Send something over a new connection, and return what comes until the end."""
        async with self.connection() as (reader, writer):
            writer.write(sent)
            return await answers(reader, 5)


async def answers(reader: asyncio.StreamReader, seconds: float = 0.5) -> bytes:
    received = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while piece := await reader.read(65536):
                received += piece
    return received


def statuses(received: bytes) -> list[bytes]:
    return [answer[:3] for answer in received.split(b"HTTP/1.1 ")[1:]]


@contextlib.asynccontextmanager
async def running(tls: ssl.SSLContext, policy: str = POLICY, *, holds: bool = False) -> AsyncIterator[Running]:
    judge = Judge(policy)
    pages = Pages(create_app(judge.state, judge.handler, MetricsCollector(judge.metrics, judge.state)))
    server = HttpServer(judge.handler, pages, tls)
    if not holds:
        server.stop_holding()
    listener = socket.create_server(("127.0.0.1", 0))
    server.listen(listener)
    try:
        yield Running(server, judge, listener.getsockname())
    finally:
        await server.drain(1)


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> ssl.SSLContext:
    pair = create_self_signed((), dt.datetime.now(dt.UTC))
    file = tmp_path_factory.mktemp("tls") / "pair.pem"
    file.write_bytes(pair.certificate + pair.key)
    context = server_context()
    context.load_cert_chain(file)
    return context


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def run(request) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Return what runs a coroutine to its end in an event loop."""

    def in_loop(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(coroutine)

    return in_loop


def test_review_is_held_until_the_state_is_loaded_and_pages_are_not(run, tls) -> None:
    async def held() -> None:
        async with running(tls, policy="", holds=True) as one, one.connection() as (reader, writer):
            writer.write(REVIEW)
            assert statuses(await one.answer(LAST_PAGE)) == [b"200"]
            assert await answers(reader, 0.1) == b""
            one.judge.state.use_policy(read_policy(POLICY.encode()))
            one.judge.state.use_cluster(CLUSTER)
            one.server.stop_holding()
            received = await answers(reader)
            assert statuses(received) == [b"200"]
            assert b'"allowed":true' in received
            writer.write(REVIEW)
            assert statuses(await answers(reader)) == [b"200"], "the connection is kept"

    run(held())


def test_review_is_held_for_seconds_at_most_then_denied_as_not_ready(run, tls, monkeypatch) -> None:
    monkeypatch.setattr(http_server, "HOLD_SECONDS", 0.1)

    async def held() -> None:
        async with running(tls, policy="", holds=True) as one:
            received = await one.answer(REVIEW.replace(b"Host: tokenguard", b"Connection: close"))
            assert b'"code":503' in received
            assert b"not ready" in received

    run(held())


def test_held_review_is_answered_when_the_server_stops(run, tls) -> None:
    async def held() -> None:
        async with running(tls, policy="", holds=True) as one, one.connection() as (reader, writer):
            writer.write(REVIEW)
            assert await answers(reader, 0.1) == b""
            await one.server.drain(5)
            received = await answers(reader)
            assert b'"code":503' in received
            assert b"Connection: close" in received

    run(held())


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(REVIEW + PAGE + REVIEW + LAST_PAGE, [b"200"] * 4, id="pages-and-reviews"),
        pytest.param(PAGE * 40 + LAST_PAGE, [b"200"] * 41, id="many-pages"),
        pytest.param(PAGE + b"GARBAGE\r\n\r\n" + PAGE, [b"200", b"400"], id="garbage-after-page"),
        pytest.param(PAGE + head(b"x" * (65 << 20)) + BODY, [b"200", b"413"], id="refused-after-page"),
        pytest.param(LAST_PAGE + PAGE, [b"200"], id="nothing-after-the-last"),
    ],
)
def test_pipelined_requests_are_answered_in_their_order(run, tls, sent, expected) -> None:
    async def pipelined() -> None:
        async with running(tls) as one:
            assert statuses(await one.answer(sent)) == expected

    run(pipelined())


def test_client_that_ends_its_side_gets_its_page(run, tls) -> None:
    async def half_closed() -> None:
        async with running(tls) as one:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

            def ask() -> bytes:
                with socket.create_connection(one.address) as plain, context.wrap_socket(plain) as client:
                    client.sendall(PAGE)
                    plain_end = socket.socket(fileno=socket.dup(client.fileno()))
                    plain_end.shutdown(socket.SHUT_WR)
                    plain_end.close()
                    return client.recv(65536)

            assert statuses(await asyncio.to_thread(ask)) == [b"200"]

    run(half_closed())


def test_client_that_reads_no_answers_is_not_read_from(run, tls, monkeypatch) -> None:
    large = HttpResponse(200, b"x" * (1 << 20))
    monkeypatch.setattr(ReviewHandler, "handle", lambda _handler, _body, _phase: large)

    async def flooded() -> None:
        async with running(tls) as one, one.connection() as (_, writer):
            writer.transport.pause_reading()
            for _ in range(5000):
                writer.write(REVIEW)
            await asyncio.sleep(0.5)
            assert writer.transport.get_write_buffer_size() > 0
            assert statuses(await one.answer(LAST_PAGE)) == [b"200"], "others are answered"
            writer.transport.abort()

    run(flooded())
