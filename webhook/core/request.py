"""What is asked: an admission request, or the same question put offline about a manifest."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from webhook.core.custom_workloads import WELL_KNOWN, GroupKind, Pointers, read_custom_workload
from webhook.core.k8s_names import is_dns_label, is_operation, is_resource, is_uid
from webhook.core.objects import (
    CronJob,
    CSIDriver,
    CustomWorkload,
    Object,
    PodTemplate,
    Readable,
    Secret,
    ServiceAccount,
    TokenRequest,
    Workload,
    decoder,
)
from webhook.core.policy.configmap import ConfigMap
from webhook.core.secret_content import read_secret
from webhook.core.text import Word


class Phase(Word):
    """When is decided: `mutate` repairs, `validate` judges the final state, `check` foretells both at once."""

    MUTATE = "mutate"
    VALIDATE = "validate"
    CHECK = "check"


class Subject(Word):
    """What can be judged: by rules, but for the ConfigMap of a policy, which is judged by itself."""

    POD = "pods"
    EPHEMERAL_CONTAINERS = "ephemeral containers"
    TEMPLATE = "pod templates"
    SECRET = "Secrets"  # noqa: S105 - a kind
    SERVICE_ACCOUNT = "ServiceAccounts"
    TOKEN_REQUEST = "TokenRequests"  # noqa: S105 - a kind
    POLICY = "ConfigMaps"
    CSI_DRIVER = "CSIDrivers"


ADVISED = frozenset({Subject.TEMPLATE, Subject.SERVICE_ACCOUNT, Subject.CSI_DRIVER})
"""What is never refused: its author is told what is amiss, and what comes of it is judged by itself."""

CLUSTER_SCOPED = frozenset({Subject.CSI_DRIVER})
"""Subjects without a namespace: a policy's overrides don't apply to them."""

GRANTS = frozenset({Subject.SECRET, Subject.TOKEN_REQUEST})
"""What gives a token without a pod. tokenguard needs none of it to run, so it is judged in its namespace, too."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One question. `object` and `old_object` are None where there is none, or where its kind isn't judged.

    `resource` is the plural with its subresource (`pods/ephemeralcontainers`), `template_at` the JSON Pointer
    of a workload's pod template, and `problem` says why the object could not be read, if it couldn't.
    """

    phase: Phase
    uid: str
    operation: str
    resource: str
    namespace: str
    name: str
    subject: Subject | None
    user: str = ""
    groups: tuple[str, ...] = ()
    object: Readable | ConfigMap | None = None
    old_object: Readable | ConfigMap | None = None
    template_at: str = ""
    dry_run: bool = False
    problem: str = ""

    @property
    def decision_id(self) -> str:
        """The first eight characters of the uid, by which log line, annotation and message are found."""
        return self.uid[:8]


class Unreadable(ValueError):  # noqa: N818 - it says what the body is
    """The bytes are no admission review that could be answered; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How objects of one kind are read and judged."""

    type: type[Object]
    subject: Subject
    operations: frozenset[str]
    template_at: str = ""
    compares: bool = False  # with the object as it was
    templates_at: Pointers = ()  # of a custom kind

    @property
    def decode(self) -> Callable[[bytes | msgspec.Raw], Any]:
        if self.templates_at:
            return partial(read_custom_workload, pointers=self.templates_at)
        return _DECODERS[self.type]


Json = bytes | msgspec.Raw
_DECODERS: dict[type[Object], Callable[[bytes | msgspec.Raw], Any]] = {
    kind: decoder(kind).decode
    for kind in (PodTemplate, Workload, CronJob, ServiceAccount, TokenRequest, CSIDriver, ConfigMap)
}
_NULL = b"null"
_NOTHING = msgspec.Raw(_NULL)
_CREATE = frozenset({"CREATE"})
_WRITE = frozenset({"CREATE", "UPDATE"})
_WORKLOAD = _Kind(Workload, Subject.TEMPLATE, _WRITE, "/spec/template")
_EPHEMERAL = _Kind(PodTemplate, Subject.EPHEMERAL_CONTAINERS, frozenset({"UPDATE"}), compares=True)

KINDS: dict[tuple[str, str], _Kind] = {
    ("", "ConfigMap"): _Kind(ConfigMap, Subject.POLICY, _WRITE, compares=True),
    ("", "Pod"): _Kind(PodTemplate, Subject.POD, _CREATE),
    ("", "Secret"): _Kind(Secret, Subject.SECRET, _WRITE, compares=True),
    ("", "ServiceAccount"): _Kind(ServiceAccount, Subject.SERVICE_ACCOUNT, _WRITE),
    ("", "ReplicationController"): _WORKLOAD,
    ("apps", "DaemonSet"): _WORKLOAD,
    ("apps", "Deployment"): _WORKLOAD,
    ("apps", "ReplicaSet"): _WORKLOAD,
    ("apps", "StatefulSet"): _WORKLOAD,
    ("batch", "CronJob"): _Kind(CronJob, Subject.TEMPLATE, _WRITE, "/spec/jobTemplate/spec/template"),
    ("batch", "Job"): _WORKLOAD,
    ("authentication.k8s.io", "TokenRequest"): _Kind(TokenRequest, Subject.TOKEN_REQUEST, _CREATE),
    ("storage.k8s.io", "CSIDriver"): _Kind(
        CSIDriver, Subject.CSI_DRIVER, _WRITE
    ),  # by check and scan: no webhook is asked
}
"""The kinds that are judged, by API group and kind; every version of them has the fields that are read."""

_NO_WORKLOADS: Mapping[GroupKind, str] = {}


def _known(kind: GroupKind, workloads: Mapping[GroupKind, str]) -> _Kind | None:
    known = KINDS.get(kind)
    if known is not None:
        return known
    pointers = (workloads[kind],) if kind in workloads else WELL_KNOWN.get(kind)
    return _Kind(CustomWorkload, Subject.TEMPLATE, _WRITE, templates_at=pointers) if pointers else None


class _GroupVersionKind(Object, frozen=True):
    group: str | None = None
    kind: str | None = None


class _GroupVersionResource(Object, frozen=True):
    resource: str | None = None


class _UserInfo(Object, frozen=True):
    username: str | None = None
    groups: list[str] | None = None


class _AdmissionRequest(Object, frozen=True):
    uid: str | None = None
    kind: _GroupVersionKind = _GroupVersionKind()
    resource: _GroupVersionResource = _GroupVersionResource()
    sub_resource: str | None = None
    name: str | None = None
    namespace: str | None = None
    operation: str | None = None
    user_info: _UserInfo | None = None
    object: msgspec.Raw = _NOTHING
    old_object: msgspec.Raw = _NOTHING
    dry_run: bool | None = None


class _AdmissionReview(Object, frozen=True):
    api_version: str | None = None
    kind: str | None = None
    request: _AdmissionRequest | None = None


class _Salvage(Object, frozen=True):
    """So much of a review as is needed to answer it, however wrong the rest."""

    request: msgspec.Raw = _NOTHING


class _SalvageUid(Object, frozen=True):
    uid: str | None = None


_decode_review = msgspec.json.Decoder(_AdmissionReview).decode
_decode_salvage = msgspec.json.Decoder(_Salvage).decode
_decode_uid = msgspec.json.Decoder(_SalvageUid).decode
MAX_BRACES = 100_000
"""So many `{` are in a body at most: millions of empty objects in 8 MiB would take seconds and hundreds of MiB.

Far above what is in any object that the API server stores, which has at most 1.5 MiB.
"""
_UID_AT_START = re.compile(
    rb'\s*{(?:\s*"(?:kind|apiVersion)"\s*:\s*"[\w./]*"\s*,)*\s*"request"\s*:\s*{\s*"uid"\s*:\s*"([\w-]{1,128})"'
)
"""The request's uid in what the API server writes, where nothing but the review's kind and version stand before it."""


def read_review(body: bytes, phase: Phase, workloads: Mapping[GroupKind, str] = _NO_WORKLOADS) -> Request:
    """Return the request in the body of an AdmissionReview (admission.k8s.io/v1).

    `workloads` are the policy's: custom kinds, each with the JSON Pointer of its pod template.

    An object that can't be read doesn't fail: the request then says so in `problem`, and is judged
    like any other. So does one whose namespace, operation or resource no request can have: the API server sends no such
    review, and nothing of it is kept or sent on. Nor is a body with more than `MAX_BRACES` read. Raises `Unreadable`
    where there is no valid uid to answer to.
    """
    if body.count(b"{") > MAX_BRACES:
        return _salvaged(body, phase, ValueError(f"it holds more than {MAX_BRACES:,} JSON objects"))
    try:
        review = _decode_review(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return _salvaged(body, phase, error)
    if review.kind != "AdmissionReview":
        raise Unreadable("the body is not an AdmissionReview: its kind is missing or another")
    if review.api_version != "admission.k8s.io/v1":
        raise Unreadable("the body is not an admission.k8s.io/v1 AdmissionReview: set admissionReviewVersions to [v1]")
    if review.request is None:
        raise Unreadable("the AdmissionReview holds no request")
    if not review.request.uid:
        raise Unreadable("the AdmissionReview's request has no uid")
    if not is_uid(review.request.uid):
        raise Unreadable("the AdmissionReview's request has a uid that is none: the API server makes UUIDs")
    invalid = _invalid_field(review.request)
    if invalid:
        return _without_content(review.request.uid, phase, f"request.{invalid} is not valid in Kubernetes")
    return _request(review.request, phase, workloads)


def of_object(
    kind: GroupKind,
    raw: bytes,
    *,
    namespace: str,
    uid: str = "",
    workloads: Mapping[GroupKind, str] = _NO_WORKLOADS,
) -> Request:
    """Return the request that creating an object from a manifest would make, asked offline.

    `kind` is the API group and kind, `raw` the object as JSON, `workloads` as in `read_review`. For a kind that isn't
    evaluated the request has no subject.
    """
    known = _known(kind, workloads)
    found, _, problem = _read(known, raw) if known else (None, None, "")
    meta = found.metadata if found is not None else None
    return Request(
        phase=Phase.CHECK,
        uid=uid,
        operation="CREATE",
        resource=kind[1],
        namespace="" if known and known.subject in CLUSTER_SCOPED else namespace,
        name=(meta and (meta.name or meta.generate_name)) or "",
        subject=known.subject if known else None,
        object=found,
        template_at=_template_at(known, found),
        problem=problem,
    )


def _invalid_field(asked: _AdmissionRequest) -> str:
    """Return which field has a value that the API server never sends; empty where none has."""
    if asked.namespace and not is_dns_label(asked.namespace):
        return "namespace"
    if asked.operation and not is_operation(asked.operation):
        return "operation"
    return "resource" if asked.resource.resource and not is_resource(_resource(asked)) else ""


def _resource(asked: _AdmissionRequest) -> str:
    resource = asked.resource.resource or ""
    return f"{resource}/{asked.sub_resource}" if asked.sub_resource else resource


def _without_content(uid: str, phase: Phase, problem: str) -> Request:
    """Return a request of which nothing is known but its uid."""
    return Request(
        phase,
        uid,
        operation="",
        resource="",
        namespace="",
        name="",
        subject=None,
        problem=f"the AdmissionReview can't be read: {problem}",
    )


def _request(asked: _AdmissionRequest, phase: Phase, workloads: Mapping[GroupKind, str]) -> Request:
    known = _kind_of(asked, workloads)
    user = asked.user_info or _UserInfo()
    found = old = None
    problem = ""
    if known:
        found, old, problem = _read(known, asked.object, asked.old_object if known.compares else _NOTHING)
    return Request(
        phase=phase,
        uid=asked.uid or "",
        operation=asked.operation or "",
        resource=_resource(asked),
        namespace=asked.namespace or "",
        name=asked.name or "",
        subject=known.subject if known else None,
        user=user.username or "",
        groups=tuple(user.groups or ()),
        object=found,
        old_object=old,
        template_at=_template_at(known, found),
        dry_run=bool(asked.dry_run),
        problem=problem,
    )


def _template_at(known: _Kind | None, found: object) -> str:
    if isinstance(found, CustomWorkload):
        return found.at
    return known.template_at if known else ""


def _kind_of(asked: _AdmissionRequest, workloads: Mapping[GroupKind, str]) -> _Kind | None:
    known = _known((asked.kind.group or "", asked.kind.kind or ""), workloads)
    if known is None or asked.operation in known.operations:
        return known
    return _EPHEMERAL if known.type is PodTemplate and asked.sub_resource == "ephemeralcontainers" else None


def _read(known: _Kind, raw: Json, old_raw: Json = _NOTHING) -> tuple[Any, Any, str]:
    """Return an object and the object that it replaces, None where there is none, or why they can't be read."""
    if bytes(raw) == _NULL:
        return None, None, "the request holds no object"
    try:
        if known.type is Secret:
            return *read_secret(raw, old_raw), ""
        return known.decode(raw), None if bytes(old_raw) == _NULL else known.decode(old_raw), ""
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return None, None, f"the object can't be read: {error}"


def _salvaged(body: bytes, phase: Phase, error: Exception) -> Request:
    """Answer a review that is wrong in some place, if it is JSON and its uid can be found."""
    why = "it nests too deep" if isinstance(error, RecursionError) else str(error)
    uid = _uid(body)
    if uid:
        return _without_content(uid, phase, why)
    if isinstance(error, RecursionError):
        raise Unreadable("the body can't be read: it nests too deep") from error
    if isinstance(error, msgspec.ValidationError):
        raise Unreadable(f"the body is not an AdmissionReview: {why}") from error
    raise Unreadable(f"the body is not JSON: {why}") from error


def _uid(body: bytes) -> str:
    """Return the request's uid, as far as it can be found; what nests too deep can't be decoded to find it."""
    try:
        uid = _decode_uid(_decode_salvage(body).request).uid or ""
    except RecursionError:
        found = _UID_AT_START.match(body)
        return found[1].decode() if found else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return uid if is_uid(uid) else ""
