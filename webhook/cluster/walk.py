"""Reading a whole list once, however long it is, with no more than a page of it in memory; or one object."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import quote

import msgspec

from webhook.cluster.api_types import ApiObject, Page, Resource
from webhook.cluster.backoff import delay_after
from webhook.cluster.pages import GONE, PARTIAL, Pages, expect
from webhook.cluster.transport import ApiError, Transport

PAGE = 500
TRIES = 4
_NEVER_BETTER = frozenset({400, 403, 404, 405, 406, GONE})
_AT_ONCE = frozenset({0, 401})
"""Nobody there, nobody known: of the first page that is told at once, later the network or a token may come back."""

T = TypeVar("T")
R = TypeVar("R")


def walk(
    resource: Resource[T],
    transport: Transport,
    step: Callable[[str], None] = lambda _: None,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[T]:
    """Yield the objects of a list, page by page. Raises `ApiError`.

    Where pages expire half-way, the list goes on from the next object on as it is by then: none that was there all the
    time is left out or comes twice. `step` is told how far it is, `wait` waits so many seconds between tries.
    """
    pages = Pages(resource, transport)
    following, known, expired = "", 0, 0
    while True:
        try:
            page = _read(pages, following, wait)
        except ApiError as error:
            expired += 1
            if error.status != GONE or not error.following or expired == TRIES:
                raise
            following = error.following
            continue
        expired = 0
        yield from page.items or ()
        known += len(page.items or ())
        left = page.metadata.remaining_item_count
        step(f"{resource.what}: {known}{f' of {known + left}' if left else ''}")
        following = page.metadata.continue_
        if not following:
            return


def read_one(
    resource: Resource[ApiObject], name: str, transport: Transport, wait: Callable[[float], object] = time.sleep
) -> ApiObject:
    """Return the metadata of one cluster-scoped object. Raises `ApiError`.

    `wait` waits so many seconds between tries.
    """

    def read() -> ApiObject:
        body = transport.get(f"{resource.path}/{quote(name, safe='')}", {}, resource.accept(PARTIAL))
        found = msgspec.json.decode(body, type=ApiObject)
        expect(found.kind, PARTIAL)
        return found

    return _tried(read, wait, is_first=True)


def _read(pages: Pages[T], following: str, wait: Callable[[float], object]) -> Page[T]:
    """Read a page, again where need be: of two hundred, one that is refused must not cost the others."""
    return _tried(lambda: pages.read(PAGE, following), wait, is_first=not following)


def _tried(read: Callable[[], R], wait: Callable[[float], object], *, is_first: bool) -> R:
    for failures in range(1, TRIES):
        try:
            return _decoded(read)
        except ApiError as error:
            if error.status in _NEVER_BETTER or (error.status in _AT_ONCE and is_first):
                raise
            wait(delay_after(failures, error.retry_after))
    return _decoded(read)


def _decoded(read: Callable[[], R]) -> R:
    try:
        return read()
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(0, f"the API server's answer can't be read ({type(error).__name__})") from None
