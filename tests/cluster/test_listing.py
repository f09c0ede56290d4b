"""Lists read to their end: page by page, and on from where one expired."""

import pytest

from tests.cluster.fake import FakeTransport, meta, page
from webhook.cluster.api_types import SECRETS
from webhook.cluster.listing import MAX_TRIES, PAGE_SIZE, list_objects
from webhook.cluster.transport import ApiError

FORBIDDEN = ApiError(403, "HTTP 403: no")
BUSY = ApiError(429, "HTTP 429: too many", 7.0)
EXPIRED = ApiError(410, "HTTP 410: too old", continue_token="onward")


class Walk:
    """A list that was read: the names in it, the requests, and the waits in between."""

    def __init__(self, *answers) -> None:
        self.transport = FakeTransport(*answers)
        self.waits: list[float] = []
        self.steps: list[str] = []
        self.names: list[str] = []

    def run(self) -> "Walk":
        for secret in list_objects(SECRETS, self.transport, self.steps.append, self.waits.append):
            self.names.append(secret.metadata.name)
        return self

    @property
    def followed(self) -> list[str | None]:
        return [request.query.get("continue") for request in self.transport.requests]


def test_list_is_read_in_pages_with_progress() -> None:
    first = page(meta("a"), meta("b"), following="next").replace(b'"continue"', b'"remainingItemCount": 1, "continue"')
    done = Walk(first, page(meta("c"))).run()
    assert done.names == ["a", "b", "c"]
    assert done.followed == [None, "next"]
    assert {request.query["limit"] for request in done.transport.requests} == {str(PAGE_SIZE)}
    assert done.steps == ["Secrets: 2 of 3", "Secrets: 3"]


def test_list_whose_token_expires_continues() -> None:
    done = Walk(page(meta("a"), following="old"), EXPIRED, page(meta("b"), following="new"), page(meta("c"))).run()
    assert done.names == ["a", "b", "c"]
    assert done.followed == [None, "old", "onward", "new"]
    assert done.waits == []


def test_list_that_keeps_expiring_fails() -> None:
    walking = Walk(page(meta("a"), following="old"), *[EXPIRED] * 10)
    with pytest.raises(ApiError, match="too old"):
        walking.run()
    assert len(walking.transport.requests) == 1 + MAX_TRIES


def test_list_that_expires_without_a_token_fails() -> None:
    with pytest.raises(ApiError, match="too old"):
        Walk(page(meta("a"), following="old"), ApiError(410, "HTTP 410: too old")).run()


def test_page_refused_with_retry_after_is_requested_again() -> None:
    done = Walk(page(meta("a"), following="next"), BUSY, ApiError(0, "lost"), page(meta("b"))).run()
    assert done.names == ["a", "b"]
    assert done.followed == [None, "next", "next", "next"]
    assert len(done.waits) == 2
    assert 7.0 <= done.waits[0] < 10


def test_credentials_that_expire_between_pages_are_reloaded() -> None:
    done = Walk(page(meta("a"), following="next"), ApiError(401, "HTTP 401: who?"), page(meta("b"))).run()
    assert done.names == ["a", "b"]


@pytest.mark.parametrize(
    "answer",
    [FORBIDDEN, ApiError(0, "cannot reach"), ApiError(401, "HTTP 401: who?")],
    ids=["forbidden", "nobody there", "nobody known"],
)
def test_permanent_error_ends_the_list_at_once(answer: ApiError) -> None:
    walking = Walk(answer, page(meta("a")))
    with pytest.raises(ApiError):
        walking.run()
    assert len(walking.transport.requests) == 1


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"items": 1}', page(meta("a"), kind="SecretList")],
                         ids=["nothing", "a list", "no items", "content instead of metadata"])  # fmt: skip
def test_answer_that_is_no_list_fails(answer: bytes) -> None:
    with pytest.raises(ApiError):
        Walk(*[answer] * MAX_TRIES).run()
