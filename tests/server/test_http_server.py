"""The HTTP server by itself, on both event loops: holding reviews at the start, the order of answers, draining."""

import asyncio
import contextlib
import os
import ssl
import threading
from collections import Counter
from typing import Any

import pytest

from tests.recorded_reviews import recorded
from tests.server.in_process import (
    BODY,
    LAST_PAGE,
    LAST_REVIEW,
    PAGE,
    REVIEW,
    answers,
    end_without_tls,
    running,
    statuses,
)
from tests.server.replica import CLUSTER
from tests.serving import POLICY, POST
from webhook.core.admission_request import Phase
from webhook.core.decision import Decision
from webhook.core.kinds import Subject
from webhook.core.policy.loader import read_policy
from webhook.server import http_protocol, review_queue
from webhook.server.body_budget import BodyBudget
from webhook.server.flask_runner import FlaskRunner
from webhook.server.http_message import HttpResponse
from webhook.server.http_protocol import MAX_PIPELINED
from webhook.server.metrics.collector import MetricsCollector
from webhook.server.review_handler import Review, ReviewHandler
from webhook.server.tls_stream import MAX_RECORD_BYTES


def test_review_is_held_until_the_state_is_loaded_pages_are_not(run, tls) -> None:
    async def held() -> None:
        async with running(tls, policy="", holds=True) as instance, instance.connection() as (reader, writer):
            writer.write(REVIEW)
            assert statuses(await instance.answer(LAST_PAGE)) == [b"200"]
            assert await answers(reader, 0.1) == b""
            instance.replica.state.use_policy(read_policy(POLICY.encode()))
            instance.replica.state.use_cluster(CLUSTER)
            instance.server.reviews.stop_holding()
            received = await answers(reader)
            assert statuses(received) == [b"200"]
            assert b'"allowed":true' in received
            writer.write(REVIEW)
            assert statuses(await answers(reader)) == [b"200"], "the connection stays open"

    run(held())


def test_review_held_for_too_long_is_denied_as_not_ready(run, tls, monkeypatch) -> None:
    monkeypatch.setattr(review_queue, "HOLD_SECONDS", 0.1)

    async def held() -> None:
        async with running(tls, policy="", holds=True) as instance:
            received = await instance.answer(LAST_REVIEW)
            assert b'"code":503' in received
            assert b"not ready" in received

    run(held())


def test_held_review_is_answered_when_the_server_stops(run, tls) -> None:
    async def held() -> None:
        async with running(tls, policy="", holds=True) as instance, instance.connection() as (reader, writer):
            writer.write(REVIEW)
            assert await answers(reader, 0.1) == b""
            await instance.server.drain(5)
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
        pytest.param(PAGE + POST % (65 << 20) + BODY, [b"200", b"413"], id="refused-after-page"),
        pytest.param(LAST_PAGE + PAGE, [b"200"], id="nothing-after-the-last"),
    ],
)
def test_pipelined_requests_are_answered_in_their_order(run, tls, sent, expected) -> None:
    async def pipelined() -> None:
        async with running(tls) as instance:
            assert statuses(await instance.answer(sent)) == expected

    run(pipelined())


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        pytest.param(b"GET https://tokenguard.svc:8443/healthz HTTP/1.1", b"200", id="absolute-form"),
        pytest.param(b"GET https://tokenguard.svc HTTP/1.1", b"404", id="absolute-form-without-path"),
        pytest.param(b"GET /healthz HTTP/1.0", b"200", id="version-1.0"),
        pytest.param(b"GET /healthz HTTP/2.0", b"505", id="version-2.0"),
    ],
)
def test_request_line_in_another_form_gets_its_answer(run, tls, request_line, expected) -> None:
    async def served() -> None:
        async with running(tls) as instance:
            sent = LAST_PAGE.replace(b"GET /healthz HTTP/1.1", request_line)
            assert statuses(await instance.answer(sent)) == [expected]

    run(served())


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([PAGE], 1, id="page"),
        pytest.param([REVIEW * 3], 3, id="reviews-in-one-record"),
        pytest.param([REVIEW] * 6, 6, id="reviews-in-records-of-their-own"),
    ],
)
def test_requests_before_a_half_close_are_answered(run, tls, records, expected) -> None:
    async def half_closed() -> None:
        async with running(tls) as instance:

            def ask() -> bytes:
                with instance.blocking_client() as client:
                    for record in records:
                        client.sendall(record)
                    end_without_tls(client)
                    return b"".join(iter(lambda: client.recv(65536), b""))

            assert statuses(await asyncio.to_thread(ask)) == [b"200"] * expected

    run(half_closed())


def test_probe_is_answered_while_scrapes_take_their_time(run, tls, monkeypatch) -> None:
    finished = threading.Event()
    monkeypatch.setattr(MetricsCollector, "exposition", lambda _collector: b"%d" % finished.wait(20))

    async def probed() -> None:
        async with running(tls) as instance, contextlib.AsyncExitStack() as stack:
            scrapes = [await stack.enter_async_context(instance.connection()) for _ in range(3)]
            for _, writer in scrapes:
                writer.write(PAGE.replace(b"/healthz", b"/metrics"))
            assert statuses(await instance.answer(LAST_PAGE)) == [b"200"]
            finished.set()
            assert [statuses(await answers(reader)) for reader, _ in scrapes] == [[b"200"]] * 3

    run(probed())


def test_page_that_fails_gets_500_and_its_error_is_not_quoted(run, tls, monkeypatch, caplog) -> None:
    secret = "a value of an object"

    def fail(_collector: MetricsCollector) -> bytes:
        raise KeyError(secret)

    monkeypatch.setattr(MetricsCollector, "exposition", fail)

    async def failing() -> None:
        async with running(tls) as instance:
            received = await instance.answer(LAST_PAGE.replace(b"/healthz", b"/metrics"))
            assert statuses(received) == [b"500"]
            assert secret.encode() not in received

    run(failing())
    assert "KeyError" in caplog.text
    assert secret not in caplog.text


@pytest.mark.covers("failure-modes: answers not read")
def test_client_that_reads_no_answers_is_not_read_from(run, tls, monkeypatch) -> None:
    large = HttpResponse(200, b"x" * (1 << 20))
    monkeypatch.setattr(ReviewHandler, "read", lambda *_: large)

    async def flooded() -> None:
        async with running(tls) as instance, instance.connection() as (_, writer):
            writer.transport.pause_reading()
            for _ in range(5000):
                writer.write(REVIEW)
            await asyncio.sleep(0.5)
            assert writer.transport.get_write_buffer_size() > 0
            assert statuses(await instance.answer(LAST_PAGE)) == [b"200"], "others are answered"
            writer.transport.abort()

    run(flooded())


@pytest.mark.covers("failure-modes: pipelined requests")
def test_flood_of_reviews_takes_turns_with_other_connections(run, tls, monkeypatch) -> None:
    turn = 0
    turns: Counter[int] = Counter()
    read = ReviewHandler.read

    def counted(handler: ReviewHandler, body: bytes, phase: Phase, arrived: float) -> Review | HttpResponse:
        turns[turn] += 1
        return read(handler, body, phase, arrived)

    monkeypatch.setattr(ReviewHandler, "read", counted)

    async def flooded() -> None:
        nonlocal turn
        async with running(tls) as instance, instance.connection() as (reader, writer):
            writer.write(REVIEW * 300 + LAST_PAGE)
            answered = asyncio.create_task(answers(reader, 20))
            while not answered.done():
                turn += 1
                await asyncio.sleep(0)
            assert statuses(await answered) == [b"200"] * 301
            assert max(turns.values()) <= 2 * MAX_RECORD_BYTES // len(REVIEW) + 2

    run(flooded())


@pytest.mark.covers("failure-modes: pipelined requests")
def test_requests_pipelined_without_end_are_refused(run, tls) -> None:
    async def pipelined() -> None:
        async with running(tls) as instance:
            received = await instance.answer(PAGE * 200)
            assert statuses(received) == [b"200"] * (1 + MAX_PIPELINED) + [b"503"]

    run(pipelined())


@pytest.mark.covers("failure-modes: answers not read")
def test_client_that_reads_no_pages_gets_no_more(run, tls, monkeypatch) -> None:
    made = 0

    def large(_runner: FlaskRunner, _request: object) -> HttpResponse:
        nonlocal made
        made += 1
        return HttpResponse(200, b"x" * (1 << 20))

    monkeypatch.setattr(FlaskRunner, "response", large)

    async def unread() -> None:
        async with running(tls) as instance, instance.connection() as (reader, writer):
            writer.transport.pause_reading()
            writer.write(PAGE * 50 + LAST_PAGE)
            await asyncio.sleep(0.5)
            assert made < 40
            writer.transport.resume_reading()
            async with asyncio.timeout(20):
                while made < 51:
                    await reader.read(1 << 20)

    run(unread())


def test_page_that_raises_is_answered_500(run, tls, monkeypatch) -> None:
    def failing(_runner: FlaskRunner, _request: object) -> HttpResponse:
        raise MemoryError

    monkeypatch.setattr(FlaskRunner, "response", failing)

    async def failed() -> None:
        async with running(tls) as instance:
            assert statuses(await instance.answer(PAGE + LAST_PAGE)) == [b"500"] * 2

    run(failed())


@pytest.mark.covers("failure-modes: slow reader at a stop")
def test_drain_waits_for_a_client_that_reads_slowly(run, tls, monkeypatch) -> None:
    large = HttpResponse(200, b"x" * (20 << 20))
    monkeypatch.setattr(ReviewHandler, "read", lambda *_: large)

    def receive(client: ssl.SSLSocket) -> int:
        return sum(len(piece) for piece in iter(lambda: client.recv(65536), b""))

    async def drained() -> None:
        async with running(tls) as instance:
            with await asyncio.to_thread(instance.blocking_client) as client:
                await asyncio.to_thread(client.sendall, REVIEW)
                await asyncio.sleep(0.3)
                drain = asyncio.create_task(instance.server.drain(20))
                await asyncio.sleep(0.5)
                assert not drain.done()
                assert await asyncio.to_thread(receive, client) > len(large.body)
                await drain

    run(drained())


@pytest.mark.parametrize(
    ("sent", "expected"),
    [pytest.param(b"GET", [b"200"], id="head"), pytest.param(REVIEW[:-1], [b"200", b"408"], id="body")],
)
def test_request_begun_before_a_page_is_answered_times_out(run, tls, monkeypatch, sent, expected) -> None:
    monkeypatch.setattr(http_protocol, "BODY_SECONDS", 0.1)

    async def timed_out() -> None:
        async with running(tls) as instance, instance.connection() as (reader, writer):
            writer.write(PAGE + sent)
            received = await reader.readuntil(b"}")
            await asyncio.sleep(0.2)
            instance.server.tick()
            assert statuses(received + await answers(reader, 5)) == expected

    run(timed_out())


def test_drain_waits_for_no_body_beyond_its_time(run, tls, monkeypatch) -> None:
    monkeypatch.setattr(http_protocol, "BODY_SECONDS", 0.1)

    async def drained() -> None:
        async with running(tls) as instance, instance.connection() as (reader, writer):
            writer.write(REVIEW[:-1])
            await asyncio.sleep(0.1)
            drain = asyncio.create_task(instance.server.drain(1000))
            assert statuses(await answers(reader, 5)) == [b"408"]
            await drain

    run(drained())


def test_held_bodies_are_part_of_the_budget(run, tls) -> None:
    padded = BODY + b" " * (100_000 - len(BODY))

    async def held() -> None:
        async with running(tls, policy="", holds=True) as instance, contextlib.AsyncExitStack() as stack:
            instance.server.bodies = BodyBudget(100_000)
            clients = [await stack.enter_async_context(instance.connection()) for _ in range(9)]
            for _, writer in clients:
                writer.write(POST % len(padded) + padded)
            await asyncio.sleep(0.3)
            instance.server.reviews.stop_holding()
            received = [(await reader.readexactly(12))[9:] for reader, _ in clients]
            assert sorted(received) == [b"200"] * 8 + [b"503"]
            assert instance.server.bodies.resize(0, 800_000), "and no longer"

    run(held())


def test_reviews_are_evaluated_in_the_order_of_their_arrival(run, tls, monkeypatch) -> None:
    evaluated: list[bytes] = []

    def record(_handler: ReviewHandler, body: bytes, _phase: Phase, _arrived: float) -> HttpResponse:
        evaluated.append(body)
        return HttpResponse(200, body)

    monkeypatch.setattr(ReviewHandler, "read", record)

    async def ordered() -> None:
        async with running(tls, holds=True) as running_server, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(running_server.connection()) for _ in range(5)]
            for number, (_, writer) in enumerate(reversed(clients)):
                writer.write(POST % 2 + b"%02d" % number)
                await asyncio.sleep(0.05)
            running_server.server.reviews.stop_holding()
            received = [await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2) for reader, _ in clients]
            assert [answer[-2:] for answer in received] == [b"04", b"03", b"02", b"01", b"00"]

    run(ordered())
    assert evaluated == [b"00", b"01", b"02", b"03", b"04"]


POLICY_BODY = recorded("policy-sound.configmaps", "validate")
POLICY_REVIEW = (POST % len(POLICY_BODY)).replace(b"/mutate", b"/validate", 1) + POLICY_BODY


class SlowPolicies:
    """Makes each evaluation of a policy wait for `finish`; `in_time` has for each whether that was set in time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.in_time: list[bool] = []
        self.started, self.finish = threading.Event(), threading.Event()
        evaluate = ReviewHandler.evaluate

        def wait(handler: ReviewHandler, review: Review) -> Decision:
            if review.request.subject is Subject.POLICY:
                self.started.set()
                self.in_time.append(self.finish.wait(20))
            return evaluate(handler, review)

        monkeypatch.setattr(ReviewHandler, "evaluate", wait)

    async def start(self) -> None:
        """Return when the first evaluation has started."""
        await asyncio.to_thread(self.started.wait, 20)


@pytest.mark.covers("failure-modes: large policy written", "threat-model: expensive policy")
def test_pods_are_answered_while_a_policy_is_evaluated(run, tls, monkeypatch) -> None:
    policies = SlowPolicies(monkeypatch)

    async def evaluated() -> None:
        async with running(tls) as instance, instance.connection() as (reader, writer):
            writer.write(POLICY_REVIEW + LAST_REVIEW)
            await policies.start()
            assert statuses(await instance.answer(LAST_REVIEW)) == [b"200"]
            policies.finish.set()
            received = await answers(reader, 20)
            assert statuses(received) == [b"200"] * 2
            assert b'"decision":"allowed"' in received.partition(b"HTTP/1.1 ")[2], "in their order"

    run(evaluated())
    assert policies.in_time == [True]


@pytest.mark.covers("failure-modes: large policy written")
def test_policy_is_not_evaluated_for_a_client_that_has_left(run, tls, monkeypatch) -> None:
    monkeypatch.setattr(http_protocol, "MIN_TIMEOUT_SECONDS", 0)
    policies = SlowPolicies(monkeypatch)

    async def left() -> None:
        async with running(tls) as instance, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(instance.connection()) for _ in range(3)]
            for _, writer in clients:
                writer.write(POLICY_REVIEW)
                await policies.start()
            assert statuses(await instance.answer(LAST_REVIEW)) == [b"200"], "all have been read"
            clients[1][1].transport.abort()
            assert statuses(await instance.answer(LAST_REVIEW)) == [b"200"]
            policies.finish.set()
            assert statuses(await clients[2][0].readuntil(b"}")) == [b"200"]
            abandoned = 'tokenguard_review_failures_total{reason="abandoned",webhook="validate"} 1.0'
            assert abandoned in instance.replica.counted("review_failures")

    run(left())
    assert policies.in_time == [True] * 2


@pytest.mark.parametrize("sent", [REVIEW, POLICY_REVIEW], ids=["pod", "policy"])
def test_review_that_raises_gets_an_answer(run, tls, monkeypatch, sent) -> None:
    errors = iter([MemoryError, KeyError])

    def fail(*_: object) -> HttpResponse:
        raise next(errors)

    monkeypatch.setattr(ReviewHandler, "respond", fail)

    async def failed() -> None:
        async with running(tls) as instance, instance.connection() as (reader, writer):
            writer.write(sent * 2)
            assert statuses(await answers(reader)) == [b"503", b"500"]

    run(failed())


def test_response_that_cannot_be_sent_costs_its_connection(run, tls, monkeypatch) -> None:
    encode, failures = http_protocol.encode_response, iter([True])

    def fail_once(*args: Any, **kwargs: Any) -> bytes:
        if next(failures, False):
            raise MemoryError
        return encode(*args, **kwargs)

    monkeypatch.setattr(http_protocol, "encode_response", fail_once)

    async def answered() -> None:
        async with running(tls, holds=True) as instance, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(instance.connection()) for _ in range(2)]
            for _, writer in clients:
                writer.write(REVIEW)
                await asyncio.sleep(0.05)
            instance.server.reviews.stop_holding()
            assert await answers(clients[0][0]) == b"", "closed"
            assert clients[0][0].at_eof()
            assert statuses(await answers(clients[1][0])) == [b"200"]

    run(answered())


def test_drain_does_not_wait_for_the_rest_of_a_pipelined_request(run, tls) -> None:
    async def drained() -> None:
        async with running(tls, policy="", holds=True) as instance, instance.connection() as (_, writer):
            writer.write(REVIEW + PAGE[:10])
            await asyncio.sleep(0.1)
            await asyncio.wait_for(instance.server.drain(1000), 20)

    run(drained())


def test_content_length_of_many_zeros_is_a_number(run, tls) -> None:
    async def zeros() -> None:
        async with running(tls) as instance:
            length = b"Content-Length: " + b"0" * 5000
            sent = LAST_REVIEW.replace(b"Content-Length: ", length)
            assert statuses(await instance.answer(sent)) == [b"200"]

    run(zeros())


def test_broken_record_ends_the_connection(run, tls) -> None:
    async def broken() -> None:
        async with running(tls) as instance, instance.connection() as (reader, writer):
            writer.write(REVIEW[:-1])
            await asyncio.sleep(0.1)
            os.write(writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.wait_for(reader.read(), 5)

    run(broken())
