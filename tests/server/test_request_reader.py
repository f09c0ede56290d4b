"""A `RequestReader` by itself: which requests come out of the bytes of a connection."""

import pytest

from tests.server.in_process import BODY, LAST_PAGE, PAGE, REVIEW
from tests.server.replica import Replica
from tests.serving import POLICY, POST
from webhook.server.body_budget import BodyBudget
from webhook.server.http_message import Request
from webhook.server.request_reader import RequestReader
from webhook.server.tls_stream import TlsStream


@pytest.fixture
def bodies():
    return BodyBudget(10_000)


@pytest.fixture
def reader(tls, bodies):
    return RequestReader(Replica(POLICY).handler, bodies, TlsStream(tls))


def feed(reader: RequestReader, *pieces: bytes) -> list[Request]:
    return [request for piece in pieces for request in reader.feed(memoryview(piece))]


@pytest.mark.parametrize("size", [1, 7, len(PAGE), 1 << 20])
def test_feed_returns_the_same_requests_for_pieces_of_any_size(reader, size) -> None:
    sent = PAGE + REVIEW + PAGE
    requests = feed(reader, *(sent[start : start + size] for start in range(0, len(sent), size)))
    assert [request.url for request in requests] == [b"/healthz", b"/mutate", b"/healthz"]
    assert bytes(requests[1].body) == BODY
    assert not any(request.is_last or request.error for request in requests)
    assert reader.request is None


@pytest.mark.parametrize("rest", [PAGE, b"\0no HTTP\r\n\r\n"], ids=["another", "not HTTP"])
def test_feed_returns_nothing_after_the_last_request(reader, rest) -> None:
    assert [request.is_last for request in feed(reader, PAGE + LAST_PAGE + rest, rest)] == [False, True]


def test_feed_returns_an_error_after_complete_requests(reader) -> None:
    page, error = feed(reader, PAGE + b"\0no HTTP\r\n\r\n", PAGE)
    assert (page.error, page.is_last) == (None, False)
    assert error.error.status == 400
    assert error.is_last


def test_reject_ends_the_request_that_is_arriving(reader) -> None:
    assert feed(reader, REVIEW[:-1]) == []
    (rejected,) = reader.reject(reader.request.error or Replica(POLICY).handler.too_many())
    assert (rejected.error.status, rejected.is_last, rejected.body) == (503, True, b"")
    assert feed(reader, REVIEW[-1:] + PAGE) == []


@pytest.mark.parametrize("end", [RequestReader.close, RequestReader.drop])
def test_partial_body_gives_its_memory_back(reader, bodies, end) -> None:
    large = BODY + b" " * 100_000
    feed(reader, POST % len(large), large[:60_000])
    assert not bodies.resize(0, 60_000), "80 kB at once"
    end(reader)
    assert bodies.resize(0, 60_000)
