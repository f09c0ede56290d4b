"""The kinds that are evaluated: as which subject of rules, on which operations, and how they are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from msgspec.json import Decoder

from webhook.core.custom_workloads import WELL_KNOWN, GroupKind, read_custom_workload
from webhook.core.formatting import FastStrEnum
from webhook.core.k8s_types import CronJob, Pod, Workload
from webhook.core.policy.configmap import PolicyConfigMap
from webhook.core.secret_content import read_secret
from webhook.core.token_objects import CSIDriver, ServiceAccount, TokenRequest


class Subject(FastStrEnum):
    """What can be evaluated: by the rules, except the ConfigMap of a policy, which is validated."""

    POD = "pods"
    EPHEMERAL_CONTAINERS = "ephemeral containers"
    TEMPLATE = "pod templates"
    SECRET = "Secrets"  # noqa: S105 - a kind
    SERVICE_ACCOUNT = "ServiceAccounts"
    TOKEN_REQUEST = "TokenRequests"  # noqa: S105 - a kind
    POLICY = "ConfigMaps"
    CSI_DRIVER = "CSIDrivers"


WARN_ONLY = frozenset({Subject.TEMPLATE, Subject.SERVICE_ACCOUNT, Subject.CSI_DRIVER})
"""Subjects that are never denied: their authors get warnings, and their pods are evaluated themselves."""

CLUSTER_SCOPED = frozenset({Subject.CSI_DRIVER})
"""Subjects without a namespace: a policy's overrides don't apply to them."""

TOKEN_GRANTING = frozenset({Subject.SECRET, Subject.TOKEN_REQUEST})
"""Subjects that give a token without a pod. tokenguard needs none to run, so they are evaluated in its namespace."""

Json = bytes | msgspec.Raw
Read = Callable[[Json, Json | None], tuple[Any, Any]]
"""Decodes an object and the one that it replaces, which may be None. Raises the errors of `msgspec`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How objects of one kind are evaluated and read; `template_pointer` is the JSON Pointer of their pod template.

    `needs_old_object` says that the object before an update matters.
    """

    subject: Subject
    operations: frozenset[str]
    read: Read
    template_pointer: str = ""
    needs_old_object: bool = False


def _reader(decode: Callable[[Json], Any]) -> Read:
    return lambda new, old: (decode(new), None if old is None else decode(old))


_CREATE = frozenset({"CREATE"})
_WRITE = frozenset({"CREATE", "UPDATE"})
_read_pod = _reader(Decoder(Pod).decode)
_WORKLOAD = Kind(Subject.TEMPLATE, _WRITE, _reader(Decoder(Workload).decode), "/spec/template")

EPHEMERAL_CONTAINERS = Kind(Subject.EPHEMERAL_CONTAINERS, frozenset({"UPDATE"}), _read_pod, needs_old_object=True)
"""A pod, in a review of its subresource `ephemeralcontainers`."""

KINDS: Mapping[GroupKind, Kind] = {
    ("", "ConfigMap"): Kind(Subject.POLICY, _WRITE, _reader(Decoder(PolicyConfigMap).decode), needs_old_object=True),
    ("", "Pod"): Kind(Subject.POD, _CREATE, _read_pod),
    ("", "Secret"): Kind(Subject.SECRET, _WRITE, read_secret, needs_old_object=True),
    ("", "ServiceAccount"): Kind(Subject.SERVICE_ACCOUNT, _WRITE, _reader(Decoder(ServiceAccount).decode)),
    ("", "ReplicationController"): _WORKLOAD,
    ("apps", "DaemonSet"): _WORKLOAD,
    ("apps", "Deployment"): _WORKLOAD,
    ("apps", "ReplicaSet"): _WORKLOAD,
    ("apps", "StatefulSet"): _WORKLOAD,
    ("authentication.k8s.io", "TokenRequest"): Kind(
        Subject.TOKEN_REQUEST, _CREATE, _reader(Decoder(TokenRequest).decode)
    ),
    ("batch", "CronJob"): Kind(
        Subject.TEMPLATE, _WRITE, _reader(Decoder(CronJob).decode), "/spec/jobTemplate/spec/template"
    ),
    ("batch", "Job"): _WORKLOAD,
    # in `check` and `scan` alone: it is not sent to the webhook
    ("storage.k8s.io", "CSIDriver"): Kind(Subject.CSI_DRIVER, _WRITE, _reader(Decoder(CSIDriver).decode)),
}
"""The kinds of Kubernetes, by API group and kind; every version of them has the fields that are read."""

NO_WORKLOADS: Mapping[GroupKind, str] = {}


def find_kind(kind: GroupKind, workloads: Mapping[GroupKind, str]) -> Kind | None:
    """Return how a kind is evaluated, None if it isn't.

    `workloads` are the policy's: custom kinds, each with the JSON Pointer of its pod template.
    """
    known = KINDS.get(kind)
    if known is not None:
        return known
    pointers = (workloads[kind],) if kind in workloads else WELL_KNOWN.get(kind)
    if pointers is None:
        return None
    return Kind(Subject.TEMPLATE, _WRITE, _reader(partial(read_custom_workload, pointers=pointers)))
