"""Clients that hold connections, send little by little, or leave: what they cost, and whom they displace."""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections import Counter

import pytest

from tests.server.in_process import (
    BODY,
    CLIENT,
    LAST_PAGE,
    LAST_REVIEW,
    PAGE,
    REVIEW,
    Running,
    TlsClient,
    answers,
    end_without_tls,
    running,
    statuses,
)
from tests.serving import POST
from webhook.server import http_protocol
from webhook.server.body_budget import MAX_AT_ONCE, BodyBudget
from webhook.server.tls_stream import RECORD_BYTES, TlsStream

ELSEWHERE = "127.0.0.2"
"""The address of other clients than the API server."""


async def connected(instance: Running, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection from another address, and send something."""
    reader, writer = await asyncio.open_connection(*instance.address, ssl=CLIENT, local_addr=(ELSEWHERE, 0))
    writer.write(sent)
    await asyncio.sleep(0.02)
    return reader, writer


async def half_open(instance: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection from there without a handshake, and send nothing."""
    opened = await asyncio.open_connection(*instance.address, local_addr=(ELSEWHERE, 0))
    await asyncio.sleep(0.02)
    return opened


def refused_client(instance: Running) -> ssl.SSLSocket:
    """Return a client from there that was refused, and does not end its side."""
    client = CLIENT.wrap_socket(socket.create_connection(instance.address, 20, (ELSEWHERE, 0)))
    client.sendall(POST % (65 << 20))
    assert statuses(b"".join(iter(lambda: client.recv(65536), b""))) == [b"413"]
    return client


def is_closed(client: ssl.SSLSocket) -> bool:
    """Return whether the server has closed a connection on which the client has just sent something."""
    closed = b"\x07"  # TCP_CLOSE, of linux/tcp_states.h
    return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == closed


SENT = {"nothing": b"", "a part of a head": PAGE[:20], "no body": POST % 100, "a page": PAGE}


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
@pytest.mark.covers("failure-modes: 2,000 connections", "threat-model: idle connections")
def test_client_past_the_limit_displaces_only_its_own(run, tls, sent) -> None:
    async def displaced() -> None:
        async with running(tls, max_connections=4) as instance, instance.connection() as (reader, writer):
            others = [await connected(instance, sent) for _ in range(12)]
            for _ in range(2):
                writer.write(REVIEW)
                assert statuses(await answers(reader, 0.2)) == [b"200"], "the idle connection is still open"
                assert statuses(await instance.answer(LAST_REVIEW)) == [b"200"]
            for _, other in others:
                other.transport.abort()

    run(displaced())


@pytest.mark.covers("failure-modes: 2,000 connections", "threat-model: idle connections")
def test_half_open_connections_leave_room_for_a_handshake(run, tls) -> None:
    async def opened() -> None:
        async with running(tls, max_connections=4) as instance:
            others = [await connected(instance) for _ in range(3)]
            reader, writer = await half_open(instance)
            others += [await half_open(instance) for _ in range(2)]
            await writer.start_tls(CLIENT)
            writer.write(LAST_REVIEW)
            assert statuses(await answers(reader, 5)) == [b"200"]
            for _, other in others:
                other.transport.abort()

    run(opened())


@pytest.mark.covers("failure-modes: 2,000 connections")
def test_connection_past_the_limit_displaces_the_longest_idle(run, tls) -> None:
    async def displaced() -> None:
        async with (
            running(tls, max_connections=2) as instance,
            instance.connection() as first,
            instance.connection() as second,
        ):
            await asyncio.sleep(0.05)
            first[1].write(REVIEW)
            assert statuses(await answers(first[0], 0.2)) == [b"200"]
            assert statuses(await instance.answer(LAST_PAGE)) == [b"200"]
            assert await second[0].read() == b""
            first[1].write(REVIEW)
            assert statuses(await answers(first[0], 0.2)) == [b"200"]

    run(displaced())


def test_connection_past_the_limit_displaces_no_review(run, tls) -> None:
    async def held() -> None:
        async with running(tls, max_connections=1, holds=True) as instance, instance.connection() as (reader, writer):
            writer.write(REVIEW)
            await asyncio.sleep(0.05)
            with pytest.raises(ConnectionError):
                await instance.answer(PAGE)
            instance.server.reviews.stop_holding()
            assert statuses(await answers(reader, 0.2)) == [b"200"]

    run(held())


@pytest.mark.covers("failure-modes: client that does not close")
def test_refused_connections_count_until_they_are_closed(run, tls, monkeypatch) -> None:
    monkeypatch.setattr(http_protocol, "LINGER_SECONDS", 0)

    async def refused() -> None:
        async with running(tls, max_connections=3) as instance, instance.connection() as (reader, writer):
            clients = [await asyncio.to_thread(refused_client, instance) for _ in range(4)]
            writer.write(REVIEW)
            assert statuses(await answers(reader, 0.2)) == [b"200"], "they displace one another"
            instance.server.tick()
            await asyncio.sleep(0.05)
            for client in clients:
                with contextlib.suppress(OSError):
                    client.sendall(b"more")
            await asyncio.sleep(0.05)
            assert all(map(is_closed, clients))
            for client in clients:
                client.close()

    run(refused())


@pytest.mark.covers("failure-modes: many handshakes")
def test_handshakes_take_turns_with_reviews(run, tls, monkeypatch) -> None:
    turn = 0
    turns: Counter[int] = Counter()
    step = TlsStream.continue_handshake

    def counted(stream: TlsStream) -> bool:
        turns[turn] += 1
        return step(stream)

    monkeypatch.setattr(TlsStream, "continue_handshake", counted)

    async def burst() -> None:
        nonlocal turn
        async with running(tls) as instance:
            clients = [await half_open(instance) for _ in range(20)]
            for _, client in clients:
                tls_client = TlsClient()
                tls_client.step()
                client.write(tls_client.sent.read())
            while sum(turns.values()) < len(clients):
                turn += 1
                await asyncio.sleep(0)
            assert max(turns.values()) == 1
            assert statuses(await instance.answer(LAST_REVIEW)) == [b"200"]
            for _, client in clients:
                client.transport.abort()

    run(burst())


@pytest.mark.covers("failure-modes: tiny records")
def test_tiny_records_are_read_together(tls) -> None:
    stream, client = TlsStream(tls), TlsClient()
    client.connect(stream)
    for _ in range(3000):
        client.tls.write(b"x")
    client.tls.write(b"y" * RECORD_BYTES)
    stream.receive(memoryview(client.sent.read()))
    pieces = [bytes(piece) for piece in iter(stream.read, None)]
    assert b"".join(pieces) == b"x" * 3000 + b"y" * RECORD_BYTES
    assert len(pieces) == 2
    client.tls.write(b"z")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.tls.unwrap()
    stream.receive(memoryview(client.sent.read()))
    assert [bytes(stream.read()), bytes(stream.read())] == [b"z", b""]


def leave_as_go_does(client: ssl.SSLSocket) -> None:
    """Send TLS's end, and close without waiting for that of the server."""
    client.settimeout(0)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.unwrap()
    client.close()


def reset(client: ssl.SSLSocket) -> None:
    """Break the connection."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


WAYS = {"as Go does": leave_as_go_does, "its side of TCP": end_without_tls, "reset": reset}


@pytest.mark.parametrize("leave", WAYS.values(), ids=WAYS)
@pytest.mark.covers("failure-modes: client has left")
def test_review_of_a_client_that_has_left_is_not_evaluated(run, tls, monkeypatch, leave) -> None:
    monkeypatch.setattr(http_protocol, "MIN_TIMEOUT_SECONDS", 0)

    def give_up(instance: Running) -> ssl.SSLSocket:
        client = instance.blocking_client()
        client.sendall(POST % (2 * len(BODY)) + BODY)  # in two pieces, so the body counts
        client.sendall(b" " * len(BODY))
        time.sleep(0.1)
        leave(client)
        return client

    async def left() -> None:
        async with running(tls, holds=True) as instance, instance.connection() as (reader, writer):
            instance.server.bodies = BodyBudget(len(BODY))
            client = await asyncio.to_thread(give_up, instance)
            writer.write(REVIEW)
            await asyncio.sleep(0.1)
            instance.server.reviews.stop_holding()
            assert statuses(await answers(reader, 0.2)) == [b"200"], "the others are evaluated"
            assert len(instance.replica.metrics.reviews) == 1
            assert len(instance.replica.audit.lines) == 1
            counted = instance.replica.counted("review_failures")
            assert 'tokenguard_review_failures_total{reason="abandoned",webhook="mutate"} 1.0' in counted
            assert instance.server.bodies.resize(0, MAX_AT_ONCE * len(BODY)), "its memory is free"
            client.close()

    run(left())


def test_review_of_a_half_closed_client_is_answered_in_time(run, tls) -> None:
    def give_up(instance: Running) -> bytes:
        with instance.blocking_client() as client:
            client.sendall(REVIEW)
            end_without_tls(client)
            return b"".join(iter(lambda: client.recv(65536), b""))

    async def waited() -> None:
        async with running(tls, holds=True) as instance:
            answer = asyncio.create_task(asyncio.to_thread(give_up, instance))
            await asyncio.sleep(0.3)
            instance.server.reviews.stop_holding()
            assert statuses(await answer) == [b"200"]

    run(waited())
