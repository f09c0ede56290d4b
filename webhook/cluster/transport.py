"""The interface to the API server, which tests implement by a fake, and its one exception."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from webhook.core.dry_run import DryRunAnswer
from webhook.core.errors import UserError

NOT_FOUND, CONFLICT, GONE = 404, 409, 410
CONNECT_TIMEOUT = 5.0
"""Seconds."""


class ApiError(UserError):
    """The API server refused, or cannot be reached. The message is one line, fit for a log, without credentials.

    `status` is the HTTP status, 0 without an answer. `retry_after` is in seconds. `continue_token` continues a list
    whose token has expired. `unreachable` means that no connection was made, or that it was lost or silent before an
    answer began.
    """

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: float = 0.0,
        continue_token: str = "",
        *,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.continue_token = continue_token
        self.unreachable = unreachable


class ApiRequest(NamedTuple):
    """One request; `read_timeout` is how long the answer may be silent, in seconds."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    read_timeout: float
    body: dict[str, Any] | None = None


class Stream(Protocol):
    """The body of a watch."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield bytes as soon as they arrive. Raises `ApiError` if the connection is lost or stays silent."""
        ...

    def close(self) -> None:
        """Close it from any thread, which ends the iteration."""
        ...


class Transport(Protocol):
    """Requests to one API server, from any thread. Every method raises `ApiError`."""

    @property
    def address(self) -> str:
        """The API server's URL, without credentials."""
        ...

    @property
    def context(self) -> str:
        """The context of the kubeconfig; empty in a pod."""
        ...

    def now(self) -> dt.datetime:
        """Return the time of day by the API server's clock, to a second; by the local clock before the first answer.

        Times that other replicas or the API server evaluate have to be from one clock.
        """
        ...

    def token_audiences(self) -> tuple[str, ...]:
        """Return the audiences of the service account token that authenticates the requests; none without one."""
        ...

    def get(self, path: str, query: Mapping[str, str], accept: str) -> bytes:
        """Return the body of the answer."""
        ...

    def watch(self, path: str, query: Mapping[str, str], accept: str) -> AbstractContextManager[Stream]:
        """Open a watch."""
        ...

    def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Create an object and return the body of the answer."""
        ...

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Replace an object; an outdated `resourceVersion` in it causes a conflict (409)."""
        ...

    def delete(self, path: str) -> None:
        """Delete an object."""
        ...

    def dry_run(self, path: str, body: Mapping[str, Any]) -> DryRunAnswer:
        """Have an object admitted without creating it; a refusal is an answer, too."""
        ...

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Apply a strategic merge patch; an outdated `resourceVersion` in it causes a conflict (409)."""
        ...

    def apply(self, path: str, body: Mapping[str, Any], manager: str) -> bytes:
        """Apply an object on the server's side as a field manager, also its fields that others have set; return it."""
        ...

    def change_metadata(
        self, method: str, path: str, body: Mapping[str, Any], media_type: str, query: Mapping[str, str]
    ) -> bytes:
        """Patch, apply or delete an object as `method` and `media_type` say; at most its metadata is sent back."""
        ...
