"""Reads single workloads that a scan has found, with all their fields."""

from collections.abc import Mapping
from functools import cached_property

import msgspec

from webhook.cluster.api_types import BY_NAME, Resource
from webhook.cluster.custom_kinds import find_custom_kinds
from webhook.cluster.listing import list_objects
from webhook.cluster.scan_reader import PODS, WORKLOAD_KINDS
from webhook.cluster.transport import ApiError, Transport
from webhook.core.custom_workloads import GroupKind
from webhook.scan.report import ScannedWorkload

_UNREADABLE = frozenset({403, 404, 503})


class WorkloadReader:
    """Reads workloads by their names: it lists them, so it needs no other right than a scan."""

    def __init__(self, transport: Transport, custom: Mapping[GroupKind, str]) -> None:
        """Read Kubernetes' own kinds, the well-known custom ones, and `custom`, the policy's `workloads`."""
        self._transport = transport
        self._custom = custom

    @cached_property
    def _paths(self) -> dict[GroupKind, str]:
        paths = {("", "Pod"): PODS.path}
        paths |= {(kind.group, kind.kind): kind.resource.path for kind in WORKLOAD_KINDS}
        return paths

    @cached_property
    def _custom_paths(self) -> dict[GroupKind, str]:
        return {kind.group_kind: kind.resource.path for kind in find_custom_kinds(self._custom, self._transport)}

    def read(self, workload: ScannedWorkload) -> bytes | None:
        """Return a workload as JSON, None if its kind is unknown or it cannot be read. Raises `ApiError`."""
        group_kind = workload.group, workload.kind
        try:
            path = self._paths.get(group_kind) or self._custom_paths.get(group_kind)
            if path is None:
                return None
            resource = Resource(workload.title, path, msgspec.Raw, f"{BY_NAME}{workload.name}")
            raw = next(list_objects(resource.within(workload.namespace), self._transport), None)
        except ApiError as error:
            if error.status not in _UNREADABLE:
                raise
            return None
        return None if raw is None else bytes(raw)
