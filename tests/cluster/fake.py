"""An API server with given answers, which records the requests."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from webhook.cluster.transport import ApiError


class Request(NamedTuple):
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    accept: str


class Chunks:
    """A watch's answer: bytes, and errors that are raised in between."""

    def __init__(self, pieces: list[bytes | ApiError]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, ApiError):
                raise piece
            yield piece

    def close(self) -> None:
        pass


class FakeTransport:
    """Gives the answers it was made with, one for each request; `ran_out` is called where there is none left."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.posted: list[dict[str, Any]] = []
        self.ran_out = lambda: None

    def get(self, path, query, accept) -> bytes:
        self.requests.append(Request("list", path, dict(query), accept))
        answer = self._next()
        if isinstance(answer, ApiError):
            raise answer
        return answer

    @contextlib.contextmanager
    def watch(self, path, query, accept):
        self.requests.append(Request("watch", path, dict(query), accept))
        answer = self._next()
        if isinstance(answer, ApiError):
            raise answer
        yield Chunks(answer)

    def post(self, path, body) -> bytes:
        self.requests.append(Request("post", path, {}, ""))
        self.posted.append(body)
        if self.answers and isinstance(self.answers[0], ApiError):
            raise self.answers.pop(0)
        return json.dumps(body).encode()

    def _next(self) -> Any:
        if not self.answers:
            self.ran_out()
            return ApiError(0, "nothing left to say")
        return self.answers.pop(0)


@dataclass
class Raw:
    """An answer that is no list."""

    content: Any


class Lists(FakeTransport):
    """Gives lists by their plural, an object by its name, or the error that is to come; all other lists are empty.

    A list by label is `labelled_` and the plural.
    """

    address = "https://api"
    context = "staging"

    def __init__(self, **lists: Any) -> None:
        super().__init__()
        self.lists = lists

    def token_audiences(self) -> tuple[str, ...]:
        return ()

    def get(self, path, query, accept) -> bytes:
        self.requests.append(Request("list", path, dict(query), accept))
        labelled = "labelled_" if "labelSelector" in query else ""
        objects = self.lists.get(labelled + path.rpartition("/")[2], [])
        if isinstance(objects, ApiError):
            raise objects
        if isinstance(objects, Raw):
            return json.dumps(objects.content).encode()
        kind = "PartialObjectMetadataList" if "PartialObject" in accept else "List"
        return json.dumps({"kind": kind, "metadata": {}, "items": objects}).encode()


def meta(name, namespace="demo", version="1", account="app", **more):
    return {
        "name": name,
        "namespace": namespace,
        "resourceVersion": version,
        "annotations": {"kubernetes.io/service-account.name": account},
        **more,
    }


def page(*metadata, version="10", following="", kind="PartialObjectMetadataList") -> bytes:
    head = {"resourceVersion": version} | ({"continue": following} if following else {})
    return json.dumps({"kind": kind, "metadata": head, "items": [{"metadata": item} for item in metadata]}).encode()


def event(type_, metadata, kind="PartialObjectMetadata", **more) -> bytes:
    return json.dumps({"type": type_, "object": {"kind": kind, "metadata": metadata, **more}}).encode() + b"\n"


def bookmark(version) -> bytes:
    return event("BOOKMARK", {"resourceVersion": version})


def error(code, message="gone") -> bytes:
    return (
        json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": message}}).encode() + b"\n"
    )
