"""An API server in small, for commands that change Secrets by their metadata."""

import datetime as dt
import json
from typing import Any

from tests.legacy.retired import day
from tests.scan.small_cluster import NOW
from webhook.cluster.transport import ApiError
from webhook.legacy.metadata import FIELD_MANAGER

ACCOUNT = {"kubernetes.io/service-account.name": "app"}
SECRETS = "/api/v1/namespaces/shop/secrets"
METADATA = "PartialObjectMetadata"


class Api:
    """An API server with Secrets' metadata, of which one request may fail: before it has an effect, or after."""

    address, context = "https://api", "staging"

    def __init__(self, *names: str) -> None:
        self.secrets = {name: metadata(name) for name in names}
        self.applied: dict[str, dict[str, set[str]]] = {}
        self.events: dict[str, Any] = {}
        self.manifests: dict[str, Any] = {}
        self.sent: list[tuple[str, str]] = []
        self.fails_at: int | None = None
        self.fails_after_effect = False
        self.errors: dict[str, ApiError] = {}
        self.lists: dict[str, list[Any]] = {}

    def now(self) -> dt.datetime:
        return NOW

    def token_audiences(self) -> tuple[str, ...]:
        return ()

    def _fail(self, *, has_effect: bool) -> None:
        if self.fails_at == len(self.sent) and self.fails_after_effect is has_effect:
            raise ApiError(0, "the connection was lost", unreachable=True)

    def _received(self, method: str, path: str) -> None:
        self.sent.append((method, path))
        self._fail(has_effect=False)
        if error := self.errors.get(path):
            raise error

    def get(self, path, query, accept) -> bytes:
        self._received("GET", path)
        of_secrets = path.endswith("/secrets") and "labelSelector" not in query
        assert METADATA in accept or not of_secrets
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        names = [name] if name in self.secrets else [] if "metadata.name" in str(query) else self.secrets
        items = [{"metadata": self.secrets[name]} for name in names] if of_secrets else self.lists.get(path, [])
        self._fail(has_effect=True)
        kind = f"{METADATA}List" if METADATA in accept else "List"
        return json.dumps({"kind": kind, "metadata": {}, "items": items}).encode()

    def post(self, path, body) -> bytes:
        self._received("POST", path)
        if body["kind"] == "SelfSubjectReview":
            return b'{"status": {"userInfo": {"username": "alice"}}}'
        if body["metadata"]["name"] in self.events:
            raise ApiError(409, "HTTP 409: exists")
        self.events[body["metadata"]["name"]] = body
        self._fail(has_effect=True)
        return b"{}"

    def change_metadata(self, method, path, body, media_type, query) -> bytes:
        self._received(method, path)
        name = path.rpartition("/")[2]
        if name not in self.secrets:
            raise ApiError(404, "HTTP 404: not found")
        wanted = body["preconditions"] if method == "DELETE" else body["metadata"]
        metadata = self.secrets[name]
        for key in ("uid", "resourceVersion"):
            if wanted.get(key, metadata[key]) != metadata[key]:
                raise ApiError(409, f"HTTP 409: another {key}")
        if method == "DELETE":
            del self.secrets[name]
        elif "apply" in media_type:
            assert query == {"fieldManager": FIELD_MANAGER, "force": "true"}
            self._apply(name, wanted)
        else:
            self._merge(metadata, wanted)
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        self._fail(has_effect=True)
        return json.dumps({"metadata": metadata}).encode()

    def _apply(self, name, wanted) -> None:
        owned = self.applied.setdefault(name, {"labels": set(), "annotations": set()})
        for part, keys in owned.items():
            given = wanted.get(part, {})
            for key in keys - given.keys():
                self.secrets[name][part].pop(key, None)
            self.secrets[name][part] |= given
            owned[part] = set(given)

    def _merge(self, metadata, wanted) -> None:
        for part in ("labels", "annotations"):
            for key, value in wanted.get(part, {}).items():
                metadata[part].pop(key, None)
                if value is not None:
                    metadata[part][key] = value

    def keep(self, secret, manifest) -> None:
        self.manifests[secret.name] = manifest


def metadata(name: str) -> dict[str, Any]:
    return {
        "name": name, "namespace": "shop", "uid": f"uid-{name}", "resourceVersion": "1", "labels": {},
        "annotations": dict(ACCOUNT), "creationTimestamp": f"{day(300)}T00:00:00Z",
    }  # fmt: skip
