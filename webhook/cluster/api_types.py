"""What is decoded of the API server's answers: the fields that are used, and no others.

For Secrets and Namespaces the API server is asked for `PartialObjectMetadata`, so their content isn't sent at all.
Of annotations only the one that names a token's account is decoded: another may quote a whole manifest.
"""

from dataclasses import dataclass, replace
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec

from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE


class Annotations(msgspec.Struct, gc=False):
    """The one annotation that counts."""

    account: str = msgspec.field(name=LEGACY_TOKEN_ACCOUNT, default="")


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """An object's name and what says which version of it this is."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: Annotations | None = None


class ApiObject(msgspec.Struct, gc=False):
    """An object, as far as its metadata tells of it."""

    kind: str = ""  # the items of a typed list don't say it
    metadata: Metadata = msgspec.field(default_factory=Metadata)


class ConfigMap(ApiObject):
    """A ConfigMap with what it holds."""

    data: dict[str, str] | None = None


T = TypeVar("T")


class ListMetadata(msgspec.Struct, rename="camel"):
    """Where a list stands, the token for its next page, and how many more there are, where that is said."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")
    remaining_item_count: int | None = None


class Page(msgspec.Struct, Generic[T]):
    """One page of a list."""

    kind: str = ""
    metadata: ListMetadata = msgspec.field(default_factory=ListMetadata)
    items: list[T] | None = None


class WatchEvent(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class Status(msgspec.Struct):
    """Why a watch ends."""

    code: int = 0
    message: str = ""


@dataclass(frozen=True)
class Resource(Generic[T]):
    """What to list and watch: `what` names it for people, `selector` is a fieldSelector, `decoded` the type to read.

    `label_selector` is a labelSelector; it is heeded by lists alone.

    `metadata_only` says that the API server is to send no more than metadata. `namespace` is the one that it is listed
    in; empty: all, or what `path` says.
    """

    what: str
    path: str
    decoded: type[T]
    selector: str = ""
    metadata_only: bool = False
    namespace: str = ""
    label_selector: str = ""

    def within(self, namespace: str) -> "Resource[T]":
        """Return the same of one namespace: rights in it suffice to list that."""
        base, _, plural = self.path.rpartition("/")
        path = f"{base}/namespaces/{quote(namespace, safe='')}/{plural}"
        return replace(self, what=f"{self.what} in {namespace}", path=path, namespace=namespace)

    def accept(self, kind: str) -> str:
        """Return the Accept header that asks for `kind` (or for a list of it)."""
        return f"application/json;as={kind};g=meta.k8s.io;v=v1" if self.metadata_only else "application/json"


SECRETS = Resource("Secrets", "/api/v1/secrets", ApiObject, f"type={LEGACY_TOKEN_TYPE}", metadata_only=True)
NAMESPACES = Resource("Namespaces", "/api/v1/namespaces", ApiObject, metadata_only=True)
POLICY = "policy"
"""The name of the policy's ConfigMap as a resource."""


def config_map(namespace: str, name: str) -> Resource[ConfigMap]:
    """Return one ConfigMap as a resource: a Role that names it suffices to list and watch it."""
    return Resource(POLICY, f"/api/v1/namespaces/{namespace}/configmaps", ConfigMap, f"metadata.name={name}")
