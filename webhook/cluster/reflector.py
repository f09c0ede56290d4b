"""List and watch: keeps a store in sync with the API server, whatever fails in between.

The official client has a `SharedInformer` and a `Watch`. The informer lists without pages, decodes whole models instead
of metadata, requests no bookmarks, waits a fixed 5 seconds after a failed list and not at all after a failed watch,
reads forever from a dead connection, does not say whether and since when it is in sync, and handles a 410 that arrives
as an event only on the second try.
"""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from webhook.cluster.api_types import ApiObject, Page, Resource, Status, WatchEvent
from webhook.cluster.backoff import CHANCE, Backoff, Reachability, delay_after
from webhook.cluster.listing import PARTIAL, PageReader, read_pages, require_kind
from webhook.cluster.transport import GONE, ApiError, Stream, Transport

log = logging.getLogger("tokenguard.cluster")

PAGE_SIZE = 2000
"""Larger pages take more memory, which stays reserved: 60 MiB for a replica with 10,000 Secrets and pages of 2,000, 75
with pages of 10,000. Smaller ones take longer: with 100,000 Secrets and pages of 500 three times as long."""
ANY_VERSION = "1"
"""A list that may be as old as this comes from the API server's watch cache, as the watch after it does. With 100,000
Secrets it costs the API server a fifth of the CPU of a list from etcd (1.36)."""
WATCH_SECONDS = 60
"""After this time, or up to twice as long, the API server ends a watch: a sign of life if there are no events. It sends
no bookmarks for a resource of which nothing has changed since it was started."""
SHORT_SECONDS, LASTING_SECONDS = 1.0, 5.0
"""A watch shorter than the first is followed by a wait; one longer than the second resets the back-off."""
_MAX_RESUMPTIONS = 3
_VERSION_REFUSED = (400, 504)
"""Answers, among others, to a resourceVersion of another history, which is larger than any that exists."""

T = TypeVar("T", bound=ApiObject)


class ObjectChange(NamedTuple, Generic[T]):
    """An object that was created, updated or deleted."""

    object: T
    deleted: bool


class Store(Protocol[T]):
    """What a reflector keeps in sync, in one thread."""

    def replace(self, objects: Iterable[T]) -> None:
        """Replace the content by all existing objects. If the iterable raises, the content stays."""
        ...

    def apply(self, changes: Sequence[ObjectChange[T]]) -> None:
        """Apply changes in their order."""
        ...


class SyncCallbacks(NamedTuple):
    """`on_synced` is called whenever the store is known to be current, `on_error` with the reason why it may not be."""

    on_synced: Callable[[], None]
    on_error: Callable[[str], None]


class _ExpiredError(ApiError):
    """The continue token has expired."""


class Reflector(Generic[T]):
    """Keeps one store in sync, in the thread that calls `run`."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        resource: Resource[T],
        store: Store[T],
        transport: Transport,
        callbacks: SyncCallbacks,
        wait: Callable[[float], object] | None = None,
        *,
        reachability: Reachability | None = None,
    ) -> None:
        """Create it stopped. `wait` waits for some seconds or until `stop`; informers share their `reachability`."""
        self._resource = resource
        self._query = {"fieldSelector": resource.field_selector} if resource.field_selector else {}
        self._store = store
        self._transport = transport
        self._callbacks = callbacks
        self._stopping = threading.Event()
        self._reachability = reachability or Reachability()
        self._wait = wait or self._stopping.wait
        self._wait_for_connection = wait or self._wait_until_reachable
        self._pages = PageReader(resource, transport)
        self._event = msgspec.json.Decoder(WatchEvent)
        self._object = msgspec.json.Decoder(resource.item_type)
        self._status = msgspec.json.Decoder(Status)
        self._version = ""
        self._not_older_than = ANY_VERSION
        self._backoff = Backoff()
        self._version_refusals = 0
        self._stream: Stream | None = None

    def run(self) -> None:
        """List, then watch, again and again, until stopped."""
        while not self._stopping.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
            except ApiError as error:
                self._handle(error)
            except Exception as error:  # noqa: BLE001 - an undecodable answer or a bug in the store: list again
                where = "".join(traceback.format_tb(error.__traceback__))  # the message may quote the answer
                name = type(error).__name__
                log.error("%s: cannot use the API server's answer: %s\n%s", self._resource.name, name, where)  # noqa: TRY400
                self._version = ""
                self._handle(ApiError(0, name))

    def stop(self) -> None:
        """End `run`, from any thread."""
        self._stopping.set()
        self._reachability.wake()
        if self._stream is not None:
            self._stream.close()

    def _handle(self, error: ApiError) -> None:
        """Report a failure, decide whether to list or to watch next, and wait."""
        if self._stopping.is_set():
            return
        if error.status:
            self._reachability.note_answer()
        self._version_refusals = self._version_refusals + 1 if error.status in _VERSION_REFUSED else 0
        expired = bool(self._version) and error.status == GONE
        if error.status == GONE or self._version_refusals > _MAX_RESUMPTIONS:
            self._version = ""
        if self._version_refusals > _MAX_RESUMPTIONS:
            self._not_older_than = ANY_VERSION
        if not expired:  # an expired watch is no error: it was interrupted for longer than the API server remembers
            self._callbacks.on_error(str(error))
        delay = self._backoff.delay(error, relists=not self._version, expired=expired)
        if error.unreachable:
            self._wait_for_connection(delay)
        else:
            self._wait(delay)

    def _wait_until_reachable(self, seconds: float) -> None:
        self._reachability.wait(seconds, self._stopping.is_set)

    def _list(self) -> None:
        try:
            self._load(PAGE_SIZE)
        except _ExpiredError:  # another list in pages would take as long, and expire as well
            log.info("%s: the list expired between two pages; requesting it without pages", self._resource.name)
            self._load(None)
        self._backoff.note_list()
        self._callbacks.on_synced()

    def _load(self, limit: int | None) -> None:
        """Replace the store's content, in pages of `limit` objects or in one."""
        version = ""

        def objects() -> Iterator[T]:
            nonlocal version
            for page in read_pages(lambda token: self._read_page(limit, token)):
                version = page.metadata.resource_version
                yield from page.items or ()

        self._store.replace(objects())
        self._version = self._not_older_than = version

    def _read_page(self, limit: int | None, continue_token: str) -> Page[T]:
        """Read a page; after the first one, a refusal is retried without starting the list again."""
        for tries in range(_MAX_RESUMPTIONS + 1):
            try:
                page = self._pages.read(limit, continue_token, self._not_older_than)
            except ApiError as error:
                if continue_token and error.status == GONE:
                    raise _ExpiredError(error.status, str(error)) from error
                if not continue_token or tries == _MAX_RESUMPTIONS or self._stopping.is_set():
                    raise
                self._handle(error)
            else:
                break
        self._reachability.note_answer()
        return page

    def _watch(self) -> None:
        query = self._query | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(CHANCE.randint(WATCH_SECONDS, 2 * WATCH_SECONDS)),
        }
        with self._transport.watch(self._resource.path, query, self._resource.accept(PARTIAL)) as stream:
            self._stream = stream
            self._reachability.note_answer()
            if self._stopping.is_set():
                return
            count, started = 0, time.monotonic()
            try:
                for lines in _lines(stream):
                    count += len(lines)
                    self._apply(lines)
            finally:
                duration = time.monotonic() - started
                if duration > LASTING_SECONDS:
                    self._backoff.reset()
        if duration < SHORT_SECONDS:
            if not count:
                raise ApiError(0, "the API server ended a watch before its first event")
            self._wait(delay_after(1))
        self._callbacks.on_synced()  # a watch that ends in good order has sent all events

    def _apply(self, lines: Sequence[bytes]) -> None:
        """Apply events that arrived together as one change."""
        changes: list[ObjectChange[T]] = []
        end: ApiError | None = None
        version = ""
        for line in lines:
            event = self._event.decode(line)
            if event.type == "ERROR":
                status = self._status.decode(event.object)
                end = ApiError(status.code, status.message)
                break
            obj = self._object.decode(event.object)
            if self._resource.metadata_only:
                require_kind(obj.kind, PARTIAL)
            version = obj.metadata.resource_version
            if event.type != "BOOKMARK":
                changes.append(ObjectChange(obj, event.type == "DELETED"))
        if changes:
            self._store.apply(changes)
        if version:
            self._version = self._not_older_than = version
            self._backoff.reset()
            self._callbacks.on_synced()
        if end:
            raise end


def _lines(stream: Stream) -> Iterator[list[bytes]]:
    """Yield the complete lines, those that arrive together in one list."""
    rest = b""
    for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield [line for line in lines if line]
