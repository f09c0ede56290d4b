"""Lists in pages, for informers and scans, with no more than one page in memory; and single objects."""

import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec

from webhook.cluster.api_types import ApiObject, Page, Resource
from webhook.cluster.backoff import delay_after
from webhook.cluster.transport import GONE, ApiError, Transport

PARTIAL = "PartialObjectMetadata"
PAGE_SIZE = 500
"""Objects in a page of a scan, which lists whole pods."""
MAX_TRIES = 4
_PERMANENT = frozenset({400, 403, 404, 405, 406, GONE})
_PERMANENT_AT_FIRST = frozenset({0, 401})
"""No connection or no valid credentials: reported at once for the first page, retried for later ones."""

T = TypeVar("T")
R = TypeVar("R")


class PageReader(Generic[T]):
    """Reads pages of one resource."""

    def __init__(self, resource: Resource[T], transport: Transport) -> None:
        self._resource = resource
        selectors = {"fieldSelector": resource.field_selector, "labelSelector": resource.label_selector}
        self._query = {name: selector for name, selector in selectors.items() if selector}
        self._transport = transport
        self._decoder = msgspec.json.Decoder(Page[resource.item_type])  # type: ignore[name-defined]

    def read(self, limit: int | None, continue_token: str = "", not_older_than: str = "") -> Page[T]:
        """Return a page of at most `limit` objects (None: all), the first or the one of a `continue_token`.

        With `not_older_than`, a resourceVersion, the API server may answer from its watch cache. Raises `ApiError`, and
        `msgspec.DecodeError` or `RecursionError` if the answer is not a list.
        """
        query = self._query | ({"limit": str(limit)} if limit else {})
        if continue_token:
            query |= {"continue": continue_token}
        elif not_older_than:
            query |= {"resourceVersion": not_older_than, "resourceVersionMatch": "NotOlderThan"}
        body = self._transport.get(self._resource.path, query, self._resource.accept(f"{PARTIAL}List"))
        page: Page[T] = self._decoder.decode(body)
        if self._resource.metadata_only:
            require_kind(page.kind, f"{PARTIAL}List")
        return page


def read_pages(read_page: Callable[[str], Page[T]]) -> Iterator[Page[T]]:
    """Yield all pages of a list; `read_page` gets the continue token of the page, empty for the first."""
    page = read_page("")
    yield page
    while page.metadata.continue_:
        page = read_page(page.metadata.continue_)
        yield page


def list_objects(
    resource: Resource[T],
    transport: Transport,
    progress: Callable[[str], None] = lambda _: None,
    wait: Callable[[float], object] = time.sleep,
    page_size: int | None = None,
) -> Iterator[T]:
    """Yield the objects of a list. Raises `ApiError`.

    If the continue token expires, the list goes on with the next object as of then: no object that exists all the time
    is left out or comes twice. `progress` gets how many objects were read, `wait` the seconds between two tries.
    """
    reader = PageReader(resource, transport)

    def read_page(continue_token: str, tries: int = 1) -> Page[T]:
        try:
            return _retry(
                lambda: reader.read(page_size or PAGE_SIZE, continue_token), wait, is_first=not continue_token
            )
        except ApiError as error:
            if error.status != GONE or not error.continue_token or tries == MAX_TRIES:
                raise
            return read_page(error.continue_token, tries + 1)

    count = 0
    for page in read_pages(read_page):
        yield from page.items or ()
        count += len(page.items or ())
        remaining = page.metadata.remaining_item_count
        progress(f"{resource.name}: {count}{f' of {count + remaining}' if remaining else ''}")


def read_object(
    resource: Resource[ApiObject], name: str, transport: Transport, wait: Callable[[float], object] = time.sleep
) -> ApiObject:
    """Return the metadata of one cluster-scoped object. Raises `ApiError`."""

    def read() -> ApiObject:
        body = transport.get(f"{resource.path}/{quote(name, safe='')}", {}, resource.accept(PARTIAL))
        obj = msgspec.json.decode(body, type=ApiObject)
        require_kind(obj.kind, PARTIAL)
        return obj

    return _retry(read, wait, is_first=True)


def require_kind(kind: str, expected: str) -> None:
    """Raise `ApiError` if whole objects were sent instead of metadata: a proxy has dropped the Accept header."""
    if kind != expected:
        raise ApiError(0, f"the API server sent {kind or 'an unknown kind'} instead of {expected}")


def _retry(read: Callable[[], R], wait: Callable[[float], object], *, is_first: bool) -> R:
    """Return what `read` returns; of two hundred pages, one that is refused must not cost the others."""
    for failures in range(1, MAX_TRIES):
        try:
            return _decoded(read)
        except ApiError as error:
            if error.status in _PERMANENT or (error.status in _PERMANENT_AT_FIRST and is_first):
                raise
            wait(delay_after(failures, error.retry_after))
    return _decoded(read)


def _decoded(read: Callable[[], R]) -> R:
    try:
        return read()
    except (msgspec.DecodeError, RecursionError):  # its message may quote the content
        raise ApiError(0, "cannot decode the API server's answer") from None
