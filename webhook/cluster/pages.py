"""Lists in pages: asking for one, reading it, and making sure that it is what was asked for."""

from typing import Generic, TypeVar

import msgspec

from webhook.cluster.api_types import Page, Resource
from webhook.cluster.transport import ApiError, Transport

PARTIAL = "PartialObjectMetadata"
GONE = 410

T = TypeVar("T")


class Pages(Generic[T]):
    """The pages of one resource."""

    def __init__(self, resource: Resource[T], transport: Transport) -> None:
        """Take what to list, and over what."""
        self._resource = resource
        selectors = {"fieldSelector": resource.selector, "labelSelector": resource.label_selector}
        self._query = {name: selector for name, selector in selectors.items() if selector}
        self._transport = transport
        self._decoder = msgspec.json.Decoder(Page[resource.decoded])  # type: ignore[name-defined]

    def read(self, limit: int | None, following: str, not_older_than: str = "") -> Page[T]:
        """Return a page of so many (None: all in one), the first or the one that a `continue` token stands for.

        With `not_older_than`, a resourceVersion, the API server may take the list from its watch cache. Raises
        `ApiError`; and what `msgspec` raises where the answer isn't one.
        """
        query = self._query | ({"limit": str(limit)} if limit else {})
        if following:
            query |= {"continue": following}
        elif not_older_than:
            query |= {"resourceVersion": not_older_than, "resourceVersionMatch": "NotOlderThan"}
        body = self._transport.get(self._resource.path, query, self._resource.accept(f"{PARTIAL}List"))
        page: Page[T] = self._decoder.decode(body)
        if self._resource.metadata_only:
            expect(page.kind, f"{PARTIAL}List")
        return page


def expect(kind: str, partial: str) -> None:
    """Refuse content where metadata was asked for: something in between has dropped the Accept header."""
    if kind != partial:
        raise ApiError(0, f"{kind or 'something else'} was sent where {partial} was asked for")
