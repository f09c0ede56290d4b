"""An admission request: read from the body of an AdmissionReview (admission.k8s.io/v1), or made from a manifest."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from webhook.core.custom_workloads import GroupKind
from webhook.core.decode_errors import explain_decode_error, problem_text
from webhook.core.formatting import FastStrEnum
from webhook.core.k8s_names import OPERATIONS, is_dns_label, is_resource, is_uid
from webhook.core.k8s_types import CustomWorkload, Object, Pod
from webhook.core.kinds import CLUSTER_SCOPED, EPHEMERAL_CONTAINERS, KINDS, NO_WORKLOADS, Json, Kind, Subject, find_kind
from webhook.core.policy.configmap import PolicyConfigMap
from webhook.core.structs import FrozenStruct
from webhook.core.token_objects import EvaluatedObject

_POD_KIND, _POD_KIND_BEFORE = b'"kind":"Pod"', 256
"""What the API server writes before the 256th byte of a review of a pod."""
_USUAL_RESOURCES = frozenset({"pods", "secrets", "serviceaccounts/token"})
_ObjectsRead = tuple[Any, Any, str, str]
_DECODE_ERRORS = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_NULL = b"null"
_NO_OBJECT = "the request has no object"
MAX_BRACES = 100_000
"""The largest number of `{` in a body: millions of empty objects in 8 MiB would take seconds and hundreds of MiB.

Far above that of any object that the API server stores, which has at most 1.5 MiB.
"""


class Phase(FastStrEnum):
    """When a request is evaluated: `mutate` patches, `validate` sees the final state, `check` predicts both at once."""

    MUTATE = "mutate"
    VALIDATE = "validate"
    CHECK = "check"


class AdmissionRequest(FrozenStruct, frozen=True):
    """One request. `object` and `old_object` are None if there is none, or if its kind isn't evaluated.

    `resource` is the plural with its subresource (`pods/ephemeralcontainers`), `template_pointer` the JSON Pointer of a
    workload's pod template. `problem` says why the object could not be read, and `problem_field` is the JSON Pointer of
    the field that it is about, if it is about one.
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
    object: EvaluatedObject | PolicyConfigMap | None = None
    old_object: EvaluatedObject | PolicyConfigMap | None = None
    template_pointer: str = ""
    dry_run: bool = False
    problem: str = ""
    problem_field: str = ""

    @property
    def decision_id(self) -> str:
        """The first eight characters of the uid, which log line, annotation and message contain."""
        return self.uid[:8]


class InvalidReviewError(ValueError):
    """A body that is no AdmissionReview with a valid uid to answer to."""


class _GroupVersionKind(Object, frozen=True):
    group: str | None = None
    kind: str | None = None


class _GroupVersionResource(Object, frozen=True):
    resource: str | None = None


class _UserInfo(Object, frozen=True):
    username: str | None = None
    groups: tuple[str, ...] | None = None


class _Request(Object, frozen=True):
    uid: str | None = None
    kind: _GroupVersionKind = _GroupVersionKind()
    resource: _GroupVersionResource = _GroupVersionResource()
    sub_resource: str | None = None
    name: str | None = None
    namespace: str | None = None
    operation: str | None = None
    user_info: _UserInfo | None = None
    old_object: msgspec.Raw = msgspec.Raw(_NULL)
    dry_run: bool | None = None


class _ObjectRequest(_Request, frozen=True):
    object: msgspec.Raw = msgspec.Raw(_NULL)

    def read(self, kind: Kind) -> "_ObjectsRead":
        """Return what `_read_object` does."""
        return _read_object(kind, self.object, self.old_object if kind.needs_old_object else None)


class _PodRequest(_Request, frozen=True):
    object: Pod | None = None

    def read(self, kind: Kind) -> "_ObjectsRead":
        """Return what `_read_object` does, for a kind that is read as a pod."""
        if self.object is None:
            return None, None, _NO_OBJECT, ""
        if not kind.needs_old_object or bytes(self.old_object) == _NULL:
            return self.object, None, "", ""
        old, _, problem, field = _read_object(kind, self.old_object)
        return (None, None, problem, field) if problem else (self.object, old, "", "")


class _ObjectReview(Object, frozen=True):
    api_version: str | None = None
    kind: str | None = None
    request: _ObjectRequest | None = None


class _PodReview(Object, frozen=True):
    api_version: str | None = None
    kind: str | None = None
    request: _PodRequest | None = None


class _UidReview(Object, frozen=True):
    request: msgspec.Raw = msgspec.Raw(_NULL)


class _UidRequest(Object, frozen=True):
    uid: str | None = None


_NO_USER = _UserInfo()
_decode_object_review = msgspec.json.Decoder(_ObjectReview).decode
_decode_pod_review = msgspec.json.Decoder(_PodReview).decode
_decode_uid_review = msgspec.json.Decoder(_UidReview).decode
_decode_uid_request = msgspec.json.Decoder(_UidRequest).decode
_UID_AT_START = re.compile(
    rb'\s*{(?:\s*"(?:kind|apiVersion)"\s*:\s*"[\w./]*"\s*,)*\s*"request"\s*:\s*{\s*"uid"\s*:\s*"([\w-]{1,128})"'
)
"""The request's uid as the API server writes it: only the review's kind and version come before it."""


def read_review(body: bytes, phase: Phase, workloads: Mapping[GroupKind, str] = NO_WORKLOADS) -> AdmissionRequest:
    """Return the request in the body of an AdmissionReview.

    `workloads` are the policy's: custom kinds, each with the JSON Pointer of its pod template.

    If the object cannot be read, or the namespace, operation or resource cannot exist, `problem` says so; such a
    request is evaluated like any other. A body with more than `MAX_BRACES` is not read. Raises `InvalidReviewError` if
    there is no valid uid.
    """
    if len(body) > MAX_BRACES and body.count(b"{") > MAX_BRACES:  # a shorter body needs no count
        return _recover(body, phase, ValueError(f"it contains more than {MAX_BRACES:,} JSON objects"))
    try:
        review = _decode_review(body)
    except _DECODE_ERRORS as error:
        return _recover(body, phase, error)
    if review.kind != "AdmissionReview":
        raise InvalidReviewError("the body is not an AdmissionReview: its kind is missing or different")
    if review.api_version != "admission.k8s.io/v1":
        expected = "the body is not an admission.k8s.io/v1 AdmissionReview"
        raise InvalidReviewError(f"{expected}: set admissionReviewVersions to [v1]")
    request = review.request
    if request is None:
        raise InvalidReviewError("the AdmissionReview has no request")
    if not request.uid:
        raise InvalidReviewError("the AdmissionReview's request has no uid")
    if not is_uid(request.uid):
        raise InvalidReviewError("the uid of the AdmissionReview's request is invalid: the API server sends UUIDs")
    resource = request.resource.resource or ""
    if request.sub_resource:
        resource = f"{resource}/{request.sub_resource}"
    invalid = _invalid_field(request, resource)
    if invalid:
        return _without_content(request.uid, phase, f"request.{invalid} is not valid in Kubernetes")
    return _request(request, resource, phase, workloads)


def manifest_request(
    group_kind: GroupKind,
    raw: bytes,
    *,
    namespace: str,
    uid: str = "",
    workloads: Mapping[GroupKind, str] = NO_WORKLOADS,
) -> AdmissionRequest:
    """Return the request that creating an object from a manifest would make.

    `raw` is the object as JSON, `workloads` as in `read_review`. For a kind that isn't evaluated the request has no
    subject.
    """
    kind = find_kind(group_kind, workloads)
    obj, _, problem, field = _read_object(kind, raw) if kind else (None, None, "", "")
    meta = obj.metadata if obj is not None else None
    return AdmissionRequest(
        phase=Phase.CHECK,
        uid=uid,
        operation="CREATE",
        resource=group_kind[1],
        namespace="" if kind and kind.subject in CLUSTER_SCOPED else namespace,
        name=(meta and (meta.name or meta.generate_name)) or "",
        subject=kind.subject if kind else None,
        object=obj,
        template_pointer=_template_pointer(kind, obj),
        problem=problem,
        problem_field=field,
    )


def template_request(kind: str, raw: bytes, pointer: str, *, namespace: str) -> AdmissionRequest:
    """Return the request about a pod template (as JSON) at a JSON Pointer of an object, evaluated like a workload's."""
    pod, _, problem, field = _read_object(KINDS["", "Pod"], raw, within=pointer)
    return AdmissionRequest(
        phase=Phase.CHECK,
        uid="",
        operation="CREATE",
        resource=kind,
        namespace=namespace,
        name="",
        subject=Subject.TEMPLATE,
        object=None if problem else CustomWorkload(template_pointer=pointer, given_template=pod),
        template_pointer=pointer,
        problem=problem,
        problem_field=field,
    )


def _decode_review(body: bytes) -> _ObjectReview | _PodReview:
    """Return a review, decoded together with the object if that is a pod, as it mostly is."""
    if body.find(_POD_KIND, 0, _POD_KIND_BEFORE) >= 0:
        try:
            review = _decode_pod_review(body)
        except _DECODE_ERRORS:
            return _decode_object_review(body)
        request = review.request
        if request is None or (request.kind.kind == "Pod" and not request.kind.group):
            return review
    return _decode_object_review(body)


def _read_object(kind: Kind, raw: Json, old_raw: Json | None = None, within: str = "") -> _ObjectsRead:
    """Return an object and the one that it replaces, None if there is none; why they can't be read, and which field.

    `within` is the JSON Pointer of the object, if it is a part of another one.
    """
    if bytes(raw) == _NULL:
        return None, None, _NO_OBJECT, ""
    if old_raw is not None and bytes(old_raw) == _NULL:
        old_raw = None
    try:
        return *kind.read(raw, old_raw), "", ""
    except _DECODE_ERRORS as error:
        field, message = explain_decode_error(error, raw)
        return None, None, problem_text(within + field, message), within + field


def _invalid_field(request: _Request, resource: str) -> str:
    """Return the field with a value that the API server never sends; empty if none has."""
    if request.namespace and not is_dns_label(request.namespace):
        return "namespace"
    if request.operation and request.operation not in OPERATIONS:
        return "operation"
    if resource and resource not in _USUAL_RESOURCES and not is_resource(resource):
        return "resource"
    return ""


def _request(
    request: _ObjectRequest | _PodRequest, resource: str, phase: Phase, workloads: Mapping[GroupKind, str]
) -> AdmissionRequest:
    kind = _kind_of(request, workloads)
    user = request.user_info or _NO_USER
    obj = old = None
    problem = field = ""
    if kind:
        obj, old, problem, field = request.read(kind)
    return AdmissionRequest(
        phase,
        request.uid or "",
        request.operation or "",
        resource,
        request.namespace or "",
        request.name or "",
        kind.subject if kind else None,
        user.username or "",
        user.groups or (),
        obj,
        old,
        _template_pointer(kind, obj),
        bool(request.dry_run),
        problem,
        field,
    )


def _kind_of(request: _Request, workloads: Mapping[GroupKind, str]) -> Kind | None:
    kind = find_kind((request.kind.group or "", request.kind.kind or ""), workloads)
    if kind is None or request.operation in kind.operations:
        return kind
    is_ephemeral = kind.subject is Subject.POD and request.sub_resource == "ephemeralcontainers"
    return EPHEMERAL_CONTAINERS if is_ephemeral else None


def _template_pointer(kind: Kind | None, obj: object) -> str:
    if isinstance(obj, CustomWorkload):
        return obj.template_pointer
    return kind.template_pointer if kind else ""


def _without_content(uid: str, phase: Phase, problem: str) -> AdmissionRequest:
    """Return a request of which only the uid is known."""
    problem = f"the AdmissionReview can't be read: {problem}"
    return AdmissionRequest(phase, uid, "", "", "", "", None, problem=problem)


def _recover(body: bytes, phase: Phase, error: Exception) -> AdmissionRequest:
    """Return a request for an invalid review, if it is JSON and its uid can be found."""
    reason = "it nests too deep" if isinstance(error, RecursionError) else str(error)
    uid = _find_uid(body)
    if uid:
        return _without_content(uid, phase, reason)
    if isinstance(error, RecursionError):
        raise InvalidReviewError(f"the body can't be read: {reason}") from error
    if isinstance(error, msgspec.ValidationError):
        raise InvalidReviewError(f"the body is not an AdmissionReview: {reason}") from error
    raise InvalidReviewError(f"the body is not JSON: {reason}") from error


def _find_uid(body: bytes) -> str:
    """Return the request's uid, empty if it can't be found; a body that nests too deep can't be decoded for it."""
    try:
        uid = _decode_uid_request(_decode_uid_review(body).request).uid or ""
    except RecursionError:
        match = _UID_AT_START.match(body)
        return match[1].decode() if match else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return uid if is_uid(uid) else ""
