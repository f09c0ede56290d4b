"""Finds requests with a disabled legacy token in the API server's log.

The API server's Event of such a request is a 401 without a user. Kubernetes documents an annotation that names the
Secret (`authentication.k8s.io/legacy-token-invalidated`), but its authentication cache drops it: observed with 1.36.2.
The Secret is found in another way: while it authenticates the request, the API server writes the day of the use into a
label of the Secret, as user `system:apiserver`. So the Event of that patch lies within the time of the 401. It does so
once a day; further refused requests of the same client are taken for uses of the same token.
"""

import datetime as dt
from collections import OrderedDict, deque
from collections.abc import Iterator

import msgspec

from webhook.audit.events import MAX_NAME
from webhook.audit.log_entry import EventUser, LogEntry

INVALIDATED = "authentication.k8s.io/legacy-token-invalidated"
_API_SERVER = "system:apiserver"
_UNAUTHORIZED = 401
_MAX_PATCHES = 100
_MAX_CLIENTS = 10_000
Client = tuple[str, str]


class RefusedUseEvent(msgspec.Struct, gc=False):
    """A request that the API server refused; the Secret is `namespace/name`, the client a user agent."""

    time: dt.datetime
    secret: str
    address: str
    client: str


class _Patch(msgspec.Struct, gc=False):
    """The API server writes the day of a use into a Secret's label."""

    secret: str
    begin: dt.datetime
    end: dt.datetime


class RefusedUseFinder:
    """Finds the refused uses among Events that come in the order of their times, in constant memory."""

    def __init__(self) -> None:
        self._patches: deque[_Patch] = deque(maxlen=_MAX_PATCHES)
        self._clients: OrderedDict[Client, str] = OrderedDict()

    def find(self, entry: LogEntry) -> Iterator[RefusedUseEvent]:
        """Yield the refused use that an Event is about, if it is about one."""
        if entry.verb == "patch":
            self._add_patch(entry)
        if not entry.response_status or entry.response_status.code != _UNAUTHORIZED:
            return
        client = _text((entry.source_ips or [""])[0]), _text(entry.user_agent)
        secret = _annotated(entry) or self._patched_during(entry)
        if secret:
            self._remember(client, secret)
        else:
            secret = self._clients.get(client, "")
        if secret:
            yield RefusedUseEvent(entry.occurred, secret, *client)

    def _add_patch(self, entry: LogEntry) -> None:
        subject, user = entry.object_ref, entry.user
        if (
            isinstance(user, EventUser)
            and user.username == _API_SERVER
            and subject is not None
            and subject.resource == "secrets"
            and entry.request_received_timestamp is not None
            and entry.stage == "ResponseComplete"
        ):
            secret = _text(f"{subject.namespace}/{subject.name}")
            self._patches.append(_Patch(secret, entry.request_received_timestamp, entry.occurred))

    def _patched_during(self, entry: LogEntry) -> str:
        """Return the Secret that was labelled while a request was authenticated; of several the last one."""
        begin, end = entry.request_received_timestamp, entry.occurred
        if begin is None:
            return ""
        matching = [patch for patch in self._patches if begin <= patch.begin and patch.end <= end]
        if not matching:
            return ""
        nearest = max(matching, key=lambda patch: patch.end)
        self._patches.remove(nearest)  # it was written for one request
        return nearest.secret

    def _remember(self, client: Client, secret: str) -> None:
        self._clients[client] = secret
        self._clients.move_to_end(client)
        if len(self._clients) > _MAX_CLIENTS:
            self._clients.popitem(last=False)


def _annotated(entry: LogEntry) -> str:
    """Return the Secret in the annotation, which is `name/namespace`."""
    name, separator, namespace = (entry.annotations or {}).get(INVALIDATED, "").partition("/")
    return _text(f"{namespace}/{name}") if separator else ""


def _text(value: str | None) -> str:
    """Return a name of limited length, without NUL, which separates names."""
    return (value or "")[:MAX_NAME].replace("\0", "")
