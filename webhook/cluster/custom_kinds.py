"""Which custom kinds that create pods a cluster serves, and how to list them: read from the API server's discovery."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from webhook.cluster.api_types import Resource
from webhook.cluster.transport import ApiError, Transport
from webhook.core.custom_workloads import WELL_KNOWN, GroupKind, Pointers

_BUILT_IN_GROUPS = frozenset({"", "extensions"})
"""Groups of kinds that are only found in files: no API server serves them as custom ones."""
T = TypeVar("T")


class _Version(msgspec.Struct):
    version: str = ""


class _Group(msgspec.Struct):
    name: str = ""
    versions: list[_Version] = []


class _Groups(msgspec.Struct):
    groups: list[_Group] | None = None


class _Resource(msgspec.Struct):
    name: str = ""
    kind: str = ""


class _Resources(msgspec.Struct):
    resources: list[_Resource] | None = None


class CustomKind(NamedTuple):
    """A custom kind that is served: its API group and kind, where its pod template may be, and how to list it."""

    group_kind: GroupKind
    pointers: Pointers
    resource: Resource[msgspec.Raw]


def find_custom_kinds(workloads: Mapping[GroupKind, str], transport: Transport) -> Iterator[CustomKind]:
    """Yield the well-known kinds and the policy's `workloads` that the API server serves, each in its first version.

    Raises `ApiError`.
    """
    wanted = {kind: at for kind, at in WELL_KNOWN.items() if kind[0] not in _BUILT_IN_GROUPS}
    wanted |= {kind: (at,) for kind, at in workloads.items()}
    groups = {group for group, _ in wanted}
    for group in _read(transport, "/apis", _Groups).groups or ():
        if group.name not in groups:
            continue
        known: set[str] = set()
        for version in group.versions:
            path = f"/apis/{group.name}/{version.version}"
            for resource in _read(transport, path, _Resources).resources or ():
                pointers = wanted.get((group.name, resource.kind))
                if pointers is None or "/" in resource.name or resource.kind in known:
                    continue
                known.add(resource.kind)
                plural = f"{resource.name}.{group.name}"
                listed = Resource(plural, f"{path}/{resource.name}", msgspec.Raw)
                yield CustomKind((group.name, resource.kind), pointers, listed)


def _read(transport: Transport, path: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(transport.get(path, {}, "application/json"), type=kind)
    except (msgspec.DecodeError, RecursionError):
        raise ApiError(0, f"the API server's discovery at {path} can't be read") from None
