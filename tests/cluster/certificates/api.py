"""An API server's memory: objects by path, versions, conflicts and the merging of what these tests patch."""

import contextlib
import copy
import json
from typing import TYPE_CHECKING, Any

from webhook.cluster.transport import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"
CONFIGURATIONS = (f"{WEBHOOKS}/mutatingwebhookconfigurations", f"{WEBHOOKS}/validatingwebhookconfigurations")
SECRETS = "/api/v1/namespaces/tokenguard/secrets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/tokenguard/leases"


class Api:
    """A transport to itself. `refused` are verbs and paths' beginnings that are answered with a 403."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.refused: set[tuple[str, str]] = set()
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self._version = 0

    def install(self) -> None:
        """Make both configurations, with no bundle."""
        for path in CONFIGURATIONS:
            service = {"name": "tokenguard", "namespace": "tokenguard"}
            webhooks = [{"name": name, "clientConfig": {"service": service}} for name in ("a", "b")]
            self.put(f"{path}/tokenguard", {"metadata": {"name": "tokenguard"}, "webhooks": webhooks})

    def put(self, path: str, found: dict[str, Any]) -> None:
        self._version += 1
        found.setdefault("metadata", {})["resourceVersion"] = str(self._version)
        self.objects[path] = found

    def bundles(self) -> list[str | None]:
        """Return the bundle of every webhook, in base64."""
        found = [self.objects[f"{path}/tokenguard"]["webhooks"] for path in CONFIGURATIONS]
        return [webhook["clientConfig"].get("caBundle") for webhooks in found for webhook in webhooks]

    def get(self, path, query, _accept) -> bytes:
        self._ask("get", path)
        wanted = query.get("fieldSelector", "").removeprefix("metadata.name=")
        names = [wanted] if wanted else [key for key in self.objects if key.startswith(f"{path}/")]
        found = [self.objects.get(name if name.startswith("/") else f"{path}/{name}") for name in names]
        return json.dumps({"kind": "List", "metadata": {}, "items": [one for one in found if one]}).encode()

    @contextlib.contextmanager
    def watch(self, _path, _query, _accept):
        raise ApiError(0, "there is nothing to watch here")
        yield

    def post(self, path, body) -> bytes:
        self._ask("post", path)
        name = f"{path}/{body['metadata']['name']}"
        if name in self.objects:
            raise ApiError(409, "already exists")
        self.put(name, copy.deepcopy(dict(body)))
        return json.dumps(self.objects[name]).encode()

    def patch(self, path, body) -> None:
        self._ask("patch", path)
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
        self._ask("delete", path)
        if self.objects.pop(path, None) is None:
            raise ApiError(404, "not found")

    def _ask(self, method: str, path: str) -> None:
        self.before(method, path)
        self.asked.append((method, path))
        if any(method == verb and path.startswith(beginning) for verb, beginning in self.refused):
            raise ApiError(403, "HTTP 403: forbidden")


def _merged(held: Any, patch: Any) -> Any:
    if isinstance(held, dict) and isinstance(patch, dict):
        return {**held, **{key: _merged(held.get(key), value) for key, value in patch.items()}}
    if isinstance(held, list):  # merged by name, as webhooks are
        changes = {one["name"]: one for one in patch}
        return [_merged(one, changes.get(one["name"], {})) for one in held]
    return copy.deepcopy(patch)
