"""List and watch: keeps a store as the API server has it, through everything that may go wrong in between.

The official client has a `SharedInformer` and a `Watch`. What they lack for this: the informer lists in one
piece (no paging), decodes models (no metadata alone, and many times the memory), asks for no bookmarks, waits a fixed 5
seconds after a failed list and not at all after a failed watch, reads forever from a connection that has died, never
tells whether or since when it is up to date, and goes on with a 410 that arrives as an event only after a second try.
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
from webhook.cluster.pages import GONE, PARTIAL, Pages, expect
from webhook.cluster.transport import ApiError, Stream, Transport

log = logging.getLogger("tokenguard.cluster")

PAGE = 2000
ANY_VERSION = "1"
"""A list that may be as old as this comes from the API server's watch cache, as the watch does that follows. With
100,000 Secrets that costs the API server a fifth of the CPU that a list from etcd costs (1.36)."""
WATCH_SECONDS = 60
"""After so long, or up to twice that, the API server is to end a watch: a sign of life where there is nothing to say.
It sends no bookmarks of a resource of which nothing has changed since it was started."""
SHORT_SECONDS, LASTING_SECONDS = 1.0, 5.0
"""A watch that ends sooner must not be asked for again at once; after one that lasted longer, all is well again."""
_MOST_RESUMPTIONS = 3
_REFUSES_VERSION = (400, 504)
"""Among others, what is said of a version from another history, which is larger than any there is."""

T = TypeVar("T", bound=ApiObject)


class ObjectChange(NamedTuple, Generic[T]):
    """An object that is there now, or is there no more."""

    object: T
    deleted: bool


class Store(Protocol[T]):
    """What is kept of the objects. Only one thread calls it."""

    def replace(self, objects: Iterable[T]) -> None:
        """Take all objects there are. The iterable may raise half-way: then what was kept stays."""
        ...

    def apply(self, changes: "Sequence[ObjectChange[T]]") -> None:
        """Take changes in their order."""
        ...


class SyncCallbacks(NamedTuple):
    """`heard` is called whenever the store is known to be current, `failed` with why it can't be brought up to date."""

    heard: Callable[[], None]
    failed: Callable[[str], None]


class _ExpiredError(ApiError):
    """The rest of a list in pages is to be had no more: what it was a list of is forgotten."""


class Reflector(Generic[T]):
    """Keeps one store up to date, in the thread that calls `run`."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        resource: Resource[T],
        store: Store[T],
        transport: Transport,
        outcome: SyncCallbacks,
        wait: Callable[[float], object] | None = None,
        *,
        reachability: Reachability | None = None,
    ) -> None:
        """Take the parts. `wait` waits so many seconds, or less where `stop` is called; tests replace it.

        `reachability` is shared by the informers of one API server.
        """
        self._resource = resource
        self._query = {"fieldSelector": resource.selector} if resource.selector else {}
        self._store = store
        self._transport = transport
        self._heard, self._failed = outcome
        self._stopping = threading.Event()
        self._reachability = reachability or Reachability()
        self._wait = wait or self._stopping.wait
        self._wait_for_connection = wait or self._wait_until_reachable
        self._pages = Pages(resource, transport)
        self._event = msgspec.json.Decoder(WatchEvent)
        self._object = msgspec.json.Decoder(resource.decoded)
        self._status = msgspec.json.Decoder(Status)
        self._version = ""
        self._not_older_than = ANY_VERSION
        self._backoff = Backoff()
        self._refusals = 0
        self._stream: Stream | None = None

    def run(self) -> None:
        """List, then watch, again and again, until stopped."""
        while not self._stopping.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
            except ApiError as error:
                self._note(error)
            except Exception as error:  # noqa: BLE001 - the store's, or an answer that can't be read: only a list mends that
                where = "".join(traceback.format_tb(error.__traceback__))  # its text may quote what was read
                name = type(error).__name__
                log.error("%s: the API server's answer can't be used: %s\n%s", self._resource.what, name, where)  # noqa: TRY400
                self._version = ""
                self._note(ApiError(0, f"{type(error).__name__}"))

    def stop(self) -> None:
        """End `run`, from any thread."""
        self._stopping.set()
        self._reachability.wake()
        if self._stream is not None:
            self._stream.close()

    def _note(self, error: ApiError) -> None:
        """Wait after a failure, and decide what it is that has to be tried again."""
        if self._stopping.is_set():
            return
        if error.status:
            self._reachability.note_answer()
        self._refusals = self._refusals + 1 if error.status in _REFUSES_VERSION else 0
        watched = bool(self._version)
        if error.status == GONE or self._refusals > _MOST_RESUMPTIONS:
            self._version = ""
        if self._refusals > _MOST_RESUMPTIONS:
            self._not_older_than = ANY_VERSION
        expired = watched and error.status == GONE
        if not expired:  # that is no trouble: it was away for longer than is remembered
            self._failed(str(error))
        delay = self._backoff.delay(error, relists=not self._version, expired=expired)
        if error.unreachable:
            self._wait_for_connection(delay)
        else:
            self._wait(delay)

    def _wait_until_reachable(self, seconds: float) -> None:
        self._reachability.wait(seconds, self._stopping.is_set)

    def _list(self) -> None:
        try:
            self._load(PAGE)
        except _ExpiredError:  # the next list of pages would take as long, and expire as well
            log.info(
                "%s: the API server took too long for a list in pages: it is asked for the whole", self._resource.what
            )
            self._load(None)
        self._backoff.note_list()
        self._heard()

    def _load(self, limit: int | None) -> None:
        """Have the store replaced by what is there, read in pages of so many or in one piece."""
        version = ""

        def objects() -> Iterator[T]:
            nonlocal version
            following = ""
            while True:
                page = self._next_page(limit, following)
                version = page.metadata.resource_version
                yield from page.items or ()
                following = page.metadata.continue_
                if not following:
                    return

        self._store.replace(objects())
        self._version = self._not_older_than = version

    def _next_page(self, limit: int | None, following: str) -> Page[T]:
        """Read a page, again where need be: of a hundred, one that is refused must not cost the others."""
        for _ in range(_MOST_RESUMPTIONS):
            try:
                return self._read_page(limit, following)
            except ApiError as error:
                if not following or error.status == GONE or self._stopping.is_set():
                    raise
                self._note(error)
        return self._read_page(limit, following)

    def _read_page(self, limit: int | None, following: str) -> Page[T]:
        try:
            page = self._pages.read(limit, following, self._not_older_than)
        except ApiError as error:
            if following and error.status == GONE:
                raise _ExpiredError(error.status, str(error)) from error
            raise
        self._reachability.note_answer()
        return page

    def _watch(self) -> None:
        query = self._query | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(CHANCE.randint(WATCH_SECONDS, 2 * WATCH_SECONDS)),
        }
        accept = self._resource.accept(PARTIAL)
        with self._transport.watch(self._resource.path, query, accept) as stream:
            self._stream = stream
            self._reachability.note_answer()
            if self._stopping.is_set():
                return
            lines, began = 0, time.monotonic()
            try:
                for batch in _lines(stream):
                    lines += len(batch)
                    self._take(batch)
            finally:
                lasted = time.monotonic() - began
                if lasted > LASTING_SECONDS:
                    self._backoff.reset()
        if lasted < SHORT_SECONDS:
            if not lines:
                raise ApiError(0, "the API server ended a watch before anything was heard")
            self._wait(delay_after(1))
        self._heard()  # it ended in good order: all that there was to say has been said

    def _take(self, lines: Sequence[bytes]) -> None:
        """Apply what has arrived together, as one change."""
        changes: list[ObjectChange[T]] = []
        end: ApiError | None = None
        version = ""
        for line in lines:
            event = self._event.decode(line)
            if event.type == "ERROR":
                status = self._status.decode(event.object)
                end = ApiError(status.code, status.message)
                break
            found = self._object.decode(event.object)
            if self._resource.metadata_only:
                expect(found.kind, PARTIAL)
            version = found.metadata.resource_version
            if event.type != "BOOKMARK":
                changes.append(ObjectChange(found, event.type == "DELETED"))
        if changes:
            self._store.apply(changes)
        if version:
            self._version = self._not_older_than = version
            self._backoff.reset()
            self._heard()
        if end:
            raise end


def _lines(stream: Stream) -> Iterator[list[bytes]]:
    """Yield the complete lines of what arrives, as many together as arrive together."""
    rest = b""
    for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield [line for line in lines if line]
