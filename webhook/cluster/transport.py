"""The seam between what is asked of the API server and the client that carries it: tests put a fake in its place."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

NOT_FOUND, CONFLICT = 404, 409
"""What the status of an `ApiError` may be, and may mean no harm."""


class ApiError(Exception):
    """The API server refused, or can't be reached. Its text is one line, fit for a log: it holds no credentials.

    `status` is HTTP's, 0 where there was no answer. `retry_after` is how many seconds the server asked to wait.
    `following` is the token by which a list whose pages have expired goes on, from the next object on as it is now.
    `unreachable` says that no connection was made, or that it was lost or stayed silent before an answer began.
    """

    def __init__(
        self, status: int, message: str, retry_after: float = 0.0, following: str = "", *, unreachable: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.following = following
        self.unreachable = unreachable


class Stream(Protocol):
    """An answer that goes on for as long as it is read."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield what arrives as soon as it arrives. Raises `ApiError` where the connection is lost or stays silent."""
        ...

    def close(self) -> None:
        """End it from any thread: whoever waits for more is told of the end."""
        ...


class Transport(Protocol):
    """Requests to one API server. Every method raises `ApiError`, and may be called from any thread."""

    @property
    def address(self) -> str:
        """Where the API server is: its URL, without anything that may be secret."""
        ...

    def token_audiences(self) -> tuple[str, ...]:
        """Return whom the service account token is for that it authenticates by; none where it is by anything else."""
        ...

    def get(self, path: str, query: Mapping[str, str], accept: str) -> bytes:
        """Return the body of the answer."""
        ...

    def watch(self, path: str, query: Mapping[str, str], accept: str) -> AbstractContextManager[Stream]:
        """Open an answer that goes on."""
        ...

    def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Create an object and return the body of the answer: the object as it was stored, or as it was reviewed."""
        ...

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Change an object by a strategic merge patch; a `resourceVersion` in it that isn't the newest gives a 409."""
        ...

    def delete(self, path: str) -> None:
        """Delete an object."""
        ...
