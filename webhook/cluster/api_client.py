"""The transport to the API server: each request by the session of a pod, or by that of a kubeconfig.

Credentials that are refused are loaded again at once, whatever their kind, and every wait is bounded.
"""

import contextlib
import datetime as dt
import email.utils
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies

import msgspec
import urllib3

from webhook.cluster.api_types import Status
from webhook.cluster.pod_session import PodSession
from webhook.cluster.transport import ApiError, Stream

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
SILENCE_SECONDS = 150.0
"""A watch is to end within two minutes; one that is silent for longer is dead."""
RELOAD_INTERVAL = 5.0
"""Seconds. An API server that can't be reached is tried every second; the configuration is not loaded as often, because
that may run the kubeconfig's credential plugin."""
_CHUNK = 1 << 16
_MOST_SHOWN = 300
_PATH = re.compile(r"/(?:[A-Za-z0-9._~:/-]|%[0-9A-F]{2})*")
"""A path of the API: without a query or fragment, which would make another request of it."""


class _Request(NamedTuple):
    """A request; `read_seconds` is how long the answer may be silent."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: dict[str, str]
    read_seconds: float
    body: dict[str, Any] | None = None


class Session(Protocol):
    """Where the API server is, and the credentials for it, as they were loaded."""

    host: str

    def token(self) -> str:
        """Return the token that requests carry; empty if they are authenticated in another way."""
        ...

    def send(  # noqa: PLR0913, PLR0917 - what a request consists of
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: dict[str, Any] | None,
        timeout: tuple[float, float],
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; the answer's body is still to be read. `timeout` is to connect and to read, in seconds."""
        ...


class ApiClient:
    """One API server, as a kubeconfig names it, or the one whose cluster this process runs in."""

    def __init__(
        self,
        kubeconfig: Path | None,
        folder: Path,
        silence_seconds: float = SILENCE_SECONDS,
        context: str | None = None,
    ) -> None:
        """Take a kubeconfig, or None in a cluster; `folder` is private, for certificates in the kubeconfig.

        Several kubeconfigs with colons in between are taken together, as in $KUBECONFIG; `context` is one of theirs,
        None for the current one.
        """
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._silence_seconds = silence_seconds
        self._context = context
        self._ahead = dt.timedelta(0)
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._forgotten = -RELOAD_INTERVAL

    def now(self) -> dt.datetime:
        """Return the time of day by the API server's clock, to a second, as its last answer told it; else by this one.

        Whatever has a time in it that the API server judges, or other replicas do, is to be made by one clock.
        """
        return dt.datetime.now(dt.UTC) + self._ahead

    @property
    def address(self) -> str:
        """Where the API server is: its URL, without anything that may be secret."""
        parts = urlsplit(self._ready_session().host)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def token_audiences(self) -> tuple[str, ...]:
        """Return whom the service account token is for that it authenticates by; none where it is by anything else."""
        from webhook.tokens.claims import TokenFormatError, parse_token  # noqa: PLC0415 - JOSE is loaded where it is used alone

        try:
            token = parse_token(self._ready_session().token().encode("ascii", "replace"))
        except TokenFormatError:  # a user's token may be anything
            return ()
        return token.audiences if token.username else ()

    def get(self, path: str, query: Mapping[str, str], accept: str) -> bytes:
        """Return the body of the answer."""
        with self._open(_Request("GET", path, query, {"Accept": accept}, ANSWER_SECONDS)) as response:
            return self._read(response)

    @contextlib.contextmanager
    def watch(self, path: str, query: Mapping[str, str], accept: str) -> Iterator[Stream]:
        """Open an answer that goes on."""
        with self._open(_Request("GET", path, query, {"Accept": accept}, self._silence_seconds)) as response:
            yield _Chunks(response)

    def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Create an object and return the body of the answer."""
        return self._write("POST", path, body, "application/json")

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Change an object by a strategic merge patch."""
        self._write("PATCH", path, body, "application/strategic-merge-patch+json")

    def _write(self, method: str, path: str, body: Mapping[str, Any] | None, media_type: str) -> bytes:
        headers = {"Accept": "application/json", "Content-Type": media_type}
        given = dict(body) if body is not None else None
        with self._open(_Request(method, path, {}, headers, CONNECT_SECONDS, given)) as response:
            return self._read(response)

    def _open(self, request: "_Request") -> contextlib.closing[urllib3.BaseHTTPResponse]:
        """Send a request and return the answer, where it is a good one; its body is still to be read."""
        if not _PATH.fullmatch(request.path) or ".." in request.path.split("/"):
            raise ApiError(0, "the request isn't sent: its path holds a name that no object can have")
        try:
            response = self._ready_session().send(
                request.method, request.path, request.query, request.headers, request.body,
                (CONNECT_SECONDS, request.read_seconds),
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # What it was made from may have changed: a CA, a client certificate, an address.
            self._forget_session(RELOAD_INTERVAL)
            raise ApiError(0, _reason(error), unreachable=True) from error
        except ApiError:
            raise
        except Exception as error:  # noqa: BLE001 - http.client quotes the header that it refuses, token and all
            self._forget_session()
            why = f"the request can't be made ({type(error).__name__}): is the token one line, with no line end?"
            raise ApiError(0, why) from None
        self._note_time(response.headers.get("Date", ""))
        if 200 <= response.status < 300:
            return contextlib.closing(response)
        with contextlib.closing(response):
            raise self._refusal(response)

    def _note_time(self, date: str) -> None:
        with contextlib.suppress(ValueError):  # it tells none, or a proxy tells nonsense
            told = email.utils.parsedate_to_datetime(date)
            self._ahead = told - dt.datetime.now(dt.UTC) if told.tzinfo else self._ahead

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        try:
            return response.read()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiError(0, _reason(error)) from error

    def _refusal(self, response: urllib3.BaseHTTPResponse) -> ApiError:
        if response.status == 401:
            self._forget_session()
        after = response.headers.get("Retry-After", "")
        status = Status()
        with contextlib.suppress(msgspec.DecodeError):
            status = msgspec.json.decode(self._read(response), type=Status)
        message = status.message or response.reason or ""
        shown = f"HTTP {response.status}: {' '.join(message.split())[:_MOST_SHOWN]}"
        seconds = float(after) if after.isdecimal() else 0.0
        return ApiError(response.status, shown, seconds, status.metadata.continue_)

    def _ready_session(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = self._load_session()
            return self._session

    def _load_session(self) -> Session:
        if self._kubeconfig is None and not getproxies():
            return PodSession()
        from webhook.cluster.client_session import ClientSession  # noqa: PLC0415 - loaded only if a replica needs it

        return ClientSession(self._kubeconfig, self._folder, self._context)

    def _forget_session(self, interval: float = 0.0) -> None:
        """Have the next request load configuration and credentials again, once in so many seconds at most."""
        with self._lock:
            now = time.monotonic()
            if now - self._forgotten >= interval:
                self._session = None
                self._forgotten = now


class _Chunks:
    """The body of an answer, piece by piece."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._response.stream(_CHUNK)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiError(0, _reason(error)) from error

    def close(self) -> None:
        with contextlib.suppress(Exception):  # it may be over already
            self._response.shutdown()


def _reason(error: Exception) -> str:
    """Return what went wrong, in one line."""
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "the API server stayed silent for too long"
    text = " ".join(str(error).split())
    return f"the API server can't be reached: {text[:_MOST_SHOWN] or type(error).__name__}"
