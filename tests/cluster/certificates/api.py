"""An API server's memory: objects by path, versions, conflicts and the merging of what these tests patch."""

import contextlib
import copy
import datetime as dt
import json
import threading
from typing import TYPE_CHECKING, Any

from webhook.cluster.transport import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"
CONFIGURATIONS = (f"{WEBHOOKS}/mutatingwebhookconfigurations", f"{WEBHOOKS}/validatingwebhookconfigurations")
ENDPOINTS = "/apis/discovery.k8s.io/v1/namespaces/tokenguard/endpointslices"
SECRETS = "/api/v1/namespaces/tokenguard/secrets"


class Api:
    """A transport to itself. `refused` are verbs and paths' beginnings that are answered with a 403."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.refused: set[tuple[str, str]] = set()
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self.now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
        self._version = 0
        self._changes: list[tuple[int, str, str]] = []
        self._changed = threading.Condition()

    def install(self) -> None:
        """Make both configurations, with no bundle."""
        for path in CONFIGURATIONS:
            service = {"name": "tokenguard", "namespace": "tokenguard"}
            webhooks = [{"name": name, "clientConfig": {"service": service}} for name in ("a", "b")]
            self.put(f"{path}/tokenguard", {"metadata": {"name": "tokenguard"}, "webhooks": webhooks})
        self.put_endpoints({"10.0.0.1": True, "10.0.0.2": True})

    def put_endpoints(self, ready: dict[str, bool | None]) -> None:
        """Make the EndpointSlice of the Service, with these addresses; nobody says of None whether it is ready."""
        endpoints = [
            {"addresses": [address], "conditions": {} if is_ready is None else {"ready": is_ready}}
            for address, is_ready in ready.items()
        ]
        self.put(f"{ENDPOINTS}/tokenguard-x", {"metadata": {"name": "tokenguard-x"}, "endpoints": endpoints})

    def put(self, path: str, obj: dict[str, Any]) -> None:
        self._version += 1
        obj.setdefault("metadata", {})["resourceVersion"] = str(self._version)
        kind = "MODIFIED" if path in self.objects else "ADDED"
        self.objects[path] = obj
        self._notify(kind, path)

    def bundles(self) -> list[str | None]:
        """Return the bundle of every webhook, in base64."""
        configurations = [self.objects[f"{path}/tokenguard"]["webhooks"] for path in CONFIGURATIONS]
        return [webhook["clientConfig"].get("caBundle") for webhooks in configurations for webhook in webhooks]

    def get(self, path, query, accept) -> bytes:
        self._record_request("get", path)
        wanted = query.get("fieldSelector", "").removeprefix("metadata.name=")
        names = [wanted] if wanted else [key for key in self.objects if key.startswith(f"{path}/")]
        objects = [self.objects.get(name if name.startswith("/") else f"{path}/{name}") for name in names]
        kind = "PartialObjectMetadataList" if "as=PartialObjectMetadataList" in accept else "List"
        meta = {"resourceVersion": str(self._version)}
        return json.dumps({"kind": kind, "metadata": meta, "items": [obj for obj in objects if obj]}).encode()

    @contextlib.contextmanager
    def watch(self, path, query, _accept):
        yield Watch(self, path, int(query["resourceVersion"]))

    def changes_since(self, version: int, path: str) -> list[tuple[int, bytes]]:
        """Wait a moment for a change under a path, and return the changes there as the events of a watch."""
        with self._changed:
            self._changed.wait_for(lambda: self._version > version, 0.05)
            changes = [change for change in self._changes if change[0] > version and change[2].startswith(f"{path}/")]
        return [
            (number, json.dumps({"type": kind, "object": {
                "kind": "PartialObjectMetadata", "metadata": {"resourceVersion": str(number)},
            }}).encode() + b"\n")
            for number, kind, _ in changes
        ]  # fmt: skip

    def _notify(self, kind: str, path: str) -> None:
        with self._changed:
            self._changes.append((self._version, kind, path))
            self._changed.notify_all()

    def post(self, path, body) -> bytes:
        self._record_request("post", path)
        name = f"{path}/{body['metadata']['name']}"
        if name in self.objects:
            raise ApiError(409, "already exists")
        self.put(name, copy.deepcopy(dict(body)))
        return json.dumps(self.objects[name]).encode()

    def patch(self, path, body) -> None:
        self._record_request("patch", path)
        if path not in self.objects:
            raise ApiError(404, "not found")
        held = self.objects[path]
        if (
            body["metadata"].get("resourceVersion", held["metadata"]["resourceVersion"])
            != held["metadata"]["resourceVersion"]
        ):
            raise ApiError(409, "the object has been modified")
        self.put(path, _merged(held, body))

    def delete(self, path) -> None:
        self._record_request("delete", path)
        if self.objects.pop(path, None) is None:
            raise ApiError(404, "not found")
        self._version += 1
        self._notify("DELETED", path)

    def _record_request(self, method: str, path: str) -> None:
        self.before(method, path)
        self.requests.append((method, path))
        if any(method == verb and path.startswith(beginning) for verb, beginning in self.refused):
            raise ApiError(403, "HTTP 403: forbidden")


class Watch:
    """A watch of all that is under a path."""

    def __init__(self, api: Api, path: str, version: int) -> None:
        self._api, self._path, self._version = api, path, version
        self._closed = False

    def __iter__(self):
        while not self._closed:
            for version, line in self._api.changes_since(self._version, self._path):
                self._version = version
                yield line

    def close(self) -> None:
        self._closed = True


def _merged(held: Any, patch: Any) -> Any:
    if isinstance(held, dict) and isinstance(patch, dict):
        merged = {**held, **{key: _merged(held.get(key), value) for key, value in patch.items()}}
        return {key: value for key, value in merged.items() if value is not None}
    if isinstance(held, list):  # merged by name, as webhooks are
        changes = {item["name"]: item for item in patch}
        return [_merged(item, changes.get(item["name"], {})) for item in held]
    return copy.deepcopy(patch)
