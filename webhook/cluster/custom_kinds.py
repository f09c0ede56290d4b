"""Discovery of custom kinds with a pod template: which ones the API server serves, and how to list them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from webhook.cluster.api_types import Resource
from webhook.cluster.transport import ApiError, Transport
from webhook.core.custom_workloads import WELL_KNOWN, GroupKind, Pointers

_BUILT_IN_GROUPS = frozenset({"", "extensions"})
"""Groups of kinds that only occur in files: no API server serves them as custom ones."""
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
    """A served kind: its API group and kind, where its pod template may be, and how to list it."""

    group_kind: GroupKind
    pointers: Pointers
    resource: Resource[msgspec.Raw]

    @property
    def api_version(self) -> str:
        """Its `apiVersion`."""
        return "/".join(self.resource.path.split("/")[2:4])


def find_custom_kinds(workloads: Mapping[GroupKind, str], transport: Transport) -> Iterator[CustomKind]:
    """Yield those of the well-known kinds and the policy's `workloads` that are served, each in its first version.

    Raises `ApiError`.
    """
    wanted = {kind: pointers for kind, pointers in WELL_KNOWN.items() if kind[0] not in _BUILT_IN_GROUPS}
    wanted |= {kind: (pointer,) for kind, pointer in workloads.items()}
    groups = {group for group, _ in wanted}
    for group in _read(transport, "/apis", _Groups).groups or ():
        if group.name not in groups:
            continue
        kinds: set[str] = set()
        for version in group.versions:
            path = f"/apis/{group.name}/{version.version}"
            for resource in _read(transport, path, _Resources).resources or ():
                pointers = wanted.get((group.name, resource.kind))
                if pointers is None or "/" in resource.name or resource.kind in kinds:
                    continue
                kinds.add(resource.kind)
                listed = Resource(f"{resource.name}.{group.name}", f"{path}/{resource.name}", msgspec.Raw)
                yield CustomKind((group.name, resource.kind), pointers, listed)


def _read(transport: Transport, path: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(transport.get(path, {}, "application/json"), type=kind)
    except (msgspec.DecodeError, RecursionError):
        raise ApiError(0, f"cannot decode the API server's discovery at {path}") from None
