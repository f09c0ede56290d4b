"""Requests to the API server, in the session of a pod or of a kubeconfig.

Rejected credentials are loaded again at once, whatever their kind, and every wait is bounded.
"""

import contextlib
import datetime as dt
import email.utils
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import msgspec
import urllib3

from webhook.cluster.api_types import METADATA, Status
from webhook.cluster.connection_errors import connection_error, interruption
from webhook.cluster.pod_session import PodSession
from webhook.cluster.transport import ApiError, ApiRequest, Stream
from webhook.core.dry_run import DryRunAnswer

if TYPE_CHECKING:
    from webhook.cluster.client_session import ClientSession

READ_TIMEOUT, WRITE_TIMEOUT = 30.0, 5.0
MIN_WRITE_SPEED = 100_000
"""Bytes a second. A policy report of a megabyte takes an API server on two busy cores 2.5 seconds."""
WATCH_TIMEOUT = 150.0
"""Seconds. The API server ends a watch within two minutes; one that is silent for longer is dead."""
RELOAD_INTERVAL = 5.0
"""Seconds. An API server that cannot be reached is tried every second; the configuration is loaded less often, because
that may run the kubeconfig's credential plugin."""
_CHUNK_SIZE = 1 << 16
_MAX_MESSAGE_LENGTH = 500
_WARNING = re.compile(r'\d{3} \S+ "(.*)"(?: ".*")?')
_PATH = re.compile(r"/(?:[A-Za-z0-9._~:/-]|%[0-9A-F]{2})*")
"""A path of the API, without a query or fragment, which would make another request of it."""


class ApiClient:
    """The API server that a kubeconfig names, or that of the cluster in which this process runs."""

    def __init__(
        self,
        kubeconfig: Path | None,
        folder: Path,
        watch_timeout: float = WATCH_TIMEOUT,
        context: str | None = None,
    ) -> None:
        """Use a kubeconfig, or None in a cluster; `folder` is private, for certificates in the kubeconfig.

        Several kubeconfigs, separated by colons, are merged as in $KUBECONFIG; `context` is one of theirs, None for the
        current one.
        """
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._watch_timeout = watch_timeout
        self._context = context
        self._clock_offset = dt.timedelta(0)
        self._lock = threading.Lock()
        self._session: PodSession | ClientSession | None = None
        self._last_reset = -RELOAD_INTERVAL

    def load(self) -> None:
        """Load the configuration before the first request. Raises `ApiError` if it cannot be used."""
        self._ready_session()

    def now(self) -> dt.datetime:
        """Return the time of day by the API server's clock, to a second; by the local clock before the first answer.

        Times that other replicas or the API server evaluate have to be from one clock.
        """
        return dt.datetime.now(dt.UTC) + self._clock_offset

    @property
    def address(self) -> str:
        """The API server's URL, without credentials."""
        parts = urlsplit(self._ready_session().host)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def context(self) -> str:
        """The context of the kubeconfig; empty in a pod."""
        return self._ready_session().context

    def token_audiences(self) -> tuple[str, ...]:
        """Return the audiences of the service account token that authenticates the requests; none without one."""
        from webhook.tokens.claims import TokenFormatError, parse_token  # noqa: PLC0415 - JOSE is loaded where it is used alone

        try:
            token = parse_token(self._ready_session().token().encode("ascii", "replace"))
        except TokenFormatError:  # a user's token may be anything
            return ()
        return token.audiences if token.username else ()

    def get(self, path: str, query: Mapping[str, str], accept: str) -> bytes:
        """Return the body of the answer."""
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}  # with 100,000 Secrets a tenth of the bytes
        return self._exchange(ApiRequest("GET", path, query, headers, READ_TIMEOUT))

    @contextlib.contextmanager
    def watch(self, path: str, query: Mapping[str, str], accept: str) -> Iterator[Stream]:
        """Open a watch."""
        with self._open(ApiRequest("GET", path, query, {"Accept": accept}, self._watch_timeout)) as response:
            yield _Stream(response)

    def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Create an object and return the body of the answer."""
        return self._write("POST", path, body, "application/json")

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Replace an object."""
        self._write("PUT", path, body, "application/json")

    def delete(self, path: str) -> None:
        """Delete an object."""
        self._exchange(ApiRequest("DELETE", path, {}, {"Accept": "application/json"}, WRITE_TIMEOUT))

    def dry_run(self, path: str, body: Mapping[str, Any]) -> DryRunAnswer:
        """Have the API server admit an object without creating it; a refusal is an answer, too."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = ApiRequest("POST", path, {"dryRun": "All"}, headers, READ_TIMEOUT, dict(body))
        with contextlib.closing(self._send(request)) as response:
            warnings = tuple(_warning_text(header) for header in response.headers.getlist("Warning"))
            message = "" if 200 <= response.status < 300 else str(self._refusal(response))
            return DryRunAnswer(response.status, message, warnings)

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Apply a strategic merge patch."""
        self._write("PATCH", path, body, "application/strategic-merge-patch+json")

    def apply(self, path: str, body: Mapping[str, Any], manager: str) -> bytes:
        """Apply an object on the server's side as a field manager, also its fields that others have set; return it."""
        headers = {"Accept": "application/json", "Content-Type": "application/apply-patch+yaml"}
        query = {"fieldManager": manager, "force": "true"}
        return self._exchange(ApiRequest("PATCH", path, query, headers, WRITE_TIMEOUT, dict(body)))

    def change_metadata(
        self, method: str, path: str, body: Mapping[str, Any], media_type: str, query: Mapping[str, str]
    ) -> bytes:
        """Patch, apply or delete an object as `method` and `media_type` say; at most its metadata is sent back."""
        headers = {"Accept": METADATA, "Content-Type": media_type}
        return self._exchange(ApiRequest(method, path, query, headers, WRITE_TIMEOUT, dict(body)))

    def _write(self, method: str, path: str, body: Mapping[str, Any], media_type: str) -> bytes:
        headers = {"Accept": "application/json", "Content-Type": media_type}
        timeout = WRITE_TIMEOUT + len(msgspec.json.encode(body)) / MIN_WRITE_SPEED
        return self._exchange(ApiRequest(method, path, {}, headers, timeout, dict(body)))

    def _exchange(self, request: ApiRequest) -> bytes:
        with self._open(request) as response:
            return _read(response)

    def _open(self, request: ApiRequest) -> contextlib.closing[urllib3.BaseHTTPResponse]:
        """Send a request and return a successful answer, whose body is not read yet."""
        response = self._send(request)
        if 200 <= response.status < 300:
            return contextlib.closing(response)
        with contextlib.closing(response):
            raise self._refusal(response)

    def _send(self, request: ApiRequest) -> urllib3.BaseHTTPResponse:
        """Send a request and return the answer, whatever it is."""
        if not _PATH.fullmatch(request.path) or ".." in request.path.split("/"):
            raise ApiError(0, "request not sent: its path contains a name that no object can have")
        session = self._ready_session()
        try:
            response = session.send(request)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # The configuration may have changed: a CA, a client certificate, an address.
            self._reset_session(RELOAD_INTERVAL)
            raise ApiError(0, connection_error(error, session.host), unreachable=True) from error
        except ApiError:
            raise
        except Exception:  # noqa: BLE001 - http.client quotes the header that it rejects, token and all
            self._reset_session()
            reason = "request not sent: is the token one line, without a line end?"
            raise ApiError(0, reason) from None
        self._set_clock(response.headers.get("Date", ""))
        return response

    def _set_clock(self, date: str) -> None:
        with contextlib.suppress(ValueError):  # a proxy may send none, or an invalid one
            now = email.utils.parsedate_to_datetime(date)
            self._clock_offset = now - dt.datetime.now(dt.UTC) if now.tzinfo else self._clock_offset

    def _refusal(self, response: urllib3.BaseHTTPResponse) -> ApiError:
        if response.status == 401:
            self._reset_session()
        retry_after = response.headers.get("Retry-After", "")
        status = Status()
        with contextlib.suppress(msgspec.DecodeError):
            status = msgspec.json.decode(_read(response), type=Status)
        message = status.message or response.reason or ""
        text = f"HTTP {response.status}: {' '.join(message.split())[:_MAX_MESSAGE_LENGTH]}"
        if response.status == 401:
            text = "you must be logged in to the server (Unauthorized): the credentials are missing, wrong or expired"
        seconds = float(retry_after) if retry_after.isdecimal() else 0.0
        return ApiError(response.status, text, seconds, status.metadata.continue_)

    def _ready_session(self) -> "PodSession | ClientSession":
        with self._lock:
            if self._session is None:
                self._session = self._load_session()
            return self._session

    def _load_session(self) -> "PodSession | ClientSession":
        if self._kubeconfig is None and not getproxies():
            return PodSession()
        from webhook.cluster.client_session import ClientSession  # noqa: PLC0415 - loaded only if a replica needs it

        return ClientSession(self._kubeconfig, self._folder, self._context)

    def _reset_session(self, interval: float = 0.0) -> None:
        """Have the next request load configuration and credentials again, at most once in `interval` seconds."""
        with self._lock:
            now = time.monotonic()
            if now - self._last_reset >= interval:
                self._session = None
                self._last_reset = now


class _Stream:
    """The body of a watch."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._response.stream(_CHUNK_SIZE)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiError(0, interruption(error)) from error

    def close(self) -> None:
        with contextlib.suppress(Exception):  # it may be closed already
            self._response.shutdown()


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    try:
        return response.read()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ApiError(0, interruption(error)) from error


def _warning_text(header: str) -> str:
    """Return the text of a Warning header (RFC 9110 has its quoted strings): `299 - "text"`."""
    match = _WARNING.fullmatch(header)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else header
