"""The fields of the API server's answers that are decoded, and no others.

Secrets and Namespaces are requested as `PartialObjectMetadata`, so their content is not sent. Of the annotations only
the one that names a token's account is decoded: another may quote a whole manifest.
"""

from dataclasses import dataclass, replace
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec

from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE
from webhook.core.webhook_namespaces import Requirement


class Annotations(msgspec.Struct, gc=False):
    """The account of a legacy token."""

    account: str = msgspec.field(name=LEGACY_TOKEN_ACCOUNT, default="")


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """An object's metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: Annotations | None = None


class ApiObject(msgspec.Struct, gc=False):
    """An object's kind, which is empty in a typed list, and its metadata."""

    kind: str = ""
    metadata: Metadata = msgspec.field(default_factory=Metadata)


class ConfigMap(ApiObject):
    """A ConfigMap with its data."""

    data: dict[str, str] | None = None


class _Requirement(msgspec.Struct):
    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class LabelSelector(msgspec.Struct, rename="camel"):
    """A label selector."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[_Requirement] | None = None

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Its requirements; without any it selects everything."""
        equal = (Requirement(key, "In", (value,)) for key, value in (self.match_labels or {}).items())
        return (
            *equal,
            *(
                Requirement(expression.key, expression.operator, tuple(expression.values or ()))
                for expression in self.match_expressions or ()
            ),
        )


class MatchCondition(msgspec.Struct):
    """A condition, in CEL, under which a webhook is called."""

    name: str = ""
    expression: str = ""


_METADATA = "application/json;as={};g=meta.k8s.io;v=v1"
METADATA = _METADATA.format("PartialObjectMetadata")
"""The Accept header that requests the metadata of one object."""
T = TypeVar("T")


class ListMetadata(msgspec.Struct, rename="camel"):
    """A list's version, the token of its next page, and how many objects remain, if the API server says so."""

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
    """A refusal, as an answer or as the last event of a watch."""

    code: int = 0
    message: str = ""
    metadata: ListMetadata = msgspec.field(default_factory=ListMetadata)


@dataclass(frozen=True)
class Resource(Generic[T]):
    """What to list and watch: a name for messages, the path, and the type of the objects.

    Only lists use `label_selector`. With `metadata_only` the API server sends only metadata. `namespace` is empty for
    all namespaces and for a namespace that is part of the given path.
    """

    name: str
    path: str
    item_type: type[T]
    field_selector: str = ""
    metadata_only: bool = False
    namespace: str = ""
    label_selector: str = ""

    def within(self, namespace: str) -> "Resource[T]":
        """Return the resource in one namespace; listing it needs rights only there."""
        base, _, plural = self.path.rpartition("/")
        path = f"{base}/namespaces/{quote(namespace, safe='')}/{plural}"
        return replace(self, name=f"{self.name} in {namespace}", path=path, namespace=namespace)

    def accept(self, kind: str) -> str:
        """Return the Accept header that requests `kind`: PartialObjectMetadata or its list."""
        return _METADATA.format(kind) if self.metadata_only else "application/json"


SECRETS = Resource("Secrets", "/api/v1/secrets", ApiObject, f"type={LEGACY_TOKEN_TYPE}", metadata_only=True)
NAMESPACES = Resource("Namespaces", "/api/v1/namespaces", ApiObject, metadata_only=True)
POLICY = "policy"
"""The name of the policy's ConfigMap as a resource."""


BY_NAME = "metadata.name="
"""Begins the field selector of one object: a rule with its resourceName suffices to list and watch it."""


def config_map(namespace: str, name: str) -> Resource[ConfigMap]:
    """Return one ConfigMap as a resource."""
    return Resource(POLICY, f"/api/v1/namespaces/{namespace}/configmaps", ConfigMap, f"{BY_NAME}{name}")
