"""What is asked: an admission request, or the same question put offline about a manifest."""

from collections.abc import Mapping

import msgspec

from webhook.core.admission_review import (
    NOBODY,
    AdmissionReview,
    PodReview,
    ReviewedObjectRequest,
    ReviewedPodRequest,
    ReviewedRequest,
    decode_pod_review,
    decode_review,
    find_uid,
    read_object,
)
from webhook.core.custom_workloads import GroupKind
from webhook.core.formatting import FastStrEnum
from webhook.core.k8s_names import OPERATIONS, is_dns_label, is_resource, is_uid
from webhook.core.k8s_types import CustomWorkload
from webhook.core.kinds import CLUSTER_SCOPED, EPHEMERAL_CONTAINERS, NO_WORKLOADS, Kind, Subject, find_kind
from webhook.core.policy.configmap import ConfigMap
from webhook.core.structs import FrozenStruct
from webhook.core.token_objects import EvaluatedObject


class Phase(FastStrEnum):
    """When is decided: `mutate` repairs, `validate` judges the final state, `check` foretells both at once."""

    MUTATE = "mutate"
    VALIDATE = "validate"
    CHECK = "check"


class AdmissionRequest(FrozenStruct, frozen=True):
    """One question. `object` and `old_object` are None where there is none, or where its kind isn't judged.

    `resource` is the plural with its subresource (`pods/ephemeralcontainers`), `template_pointer` the JSON Pointer
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
    object: EvaluatedObject | ConfigMap | None = None
    old_object: EvaluatedObject | ConfigMap | None = None
    template_pointer: str = ""
    dry_run: bool = False
    problem: str = ""

    @property
    def decision_id(self) -> str:
        """The first eight characters of the uid, by which log line, annotation and message are found."""
        return self.uid[:8]


class InvalidReviewError(ValueError):
    """The bytes are no admission review that could be answered; the message says what is wrong."""


_POD_KIND, _POD_KIND_BEFORE = b'"kind":"Pod"', 256
"""What the API server writes before the 256th byte of a review of a pod."""
_USUAL_RESOURCES = frozenset({"pods", "secrets", "serviceaccounts/token"})
MAX_BRACES = 100_000
"""So many `{` are in a body at most: millions of empty objects in 8 MiB would take seconds and hundreds of MiB.

Far above what is in any object that the API server stores, which has at most 1.5 MiB.
"""


def read_review(body: bytes, phase: Phase, workloads: Mapping[GroupKind, str] = NO_WORKLOADS) -> AdmissionRequest:
    """Return the request in the body of an AdmissionReview (admission.k8s.io/v1).

    `workloads` are the policy's: custom kinds, each with the JSON Pointer of its pod template.

    An object that can't be read doesn't fail: the request then says so in `problem`, and is judged
    like any other. So does one whose namespace, operation or resource no request can have: the API server sends no such
    review, and nothing of it is kept or sent on. Nor is a body with more than `MAX_BRACES` read.
    Raises `InvalidReviewError` where there is no valid uid to answer to.
    """
    if len(body) > MAX_BRACES and body.count(b"{") > MAX_BRACES:  # what is shorter needs no count
        return _salvaged(body, phase, ValueError(f"it contains more than {MAX_BRACES:,} JSON objects"))
    try:
        review = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return _salvaged(body, phase, error)
    if review.kind != "AdmissionReview":
        raise InvalidReviewError("the body is not an AdmissionReview: its kind is missing or different")
    if review.api_version != "admission.k8s.io/v1":
        raise InvalidReviewError(
            "the body is not an admission.k8s.io/v1 AdmissionReview: set admissionReviewVersions to [v1]"
        )
    if review.request is None:
        raise InvalidReviewError("the AdmissionReview has no request")
    if not review.request.uid:
        raise InvalidReviewError("the AdmissionReview's request has no uid")
    if not is_uid(review.request.uid):
        raise InvalidReviewError("the uid of the AdmissionReview's request is invalid: the API server sends UUIDs")
    resource = review.request.resource.resource or ""
    if review.request.sub_resource:
        resource = f"{resource}/{review.request.sub_resource}"
    invalid = _invalid_field(review.request, resource)
    if invalid:
        return _without_content(review.request.uid, phase, f"request.{invalid} is not valid in Kubernetes")
    return _request(review.request, resource, phase, workloads)


def _decode(body: bytes) -> AdmissionReview | PodReview:
    """Return a review; with the pod that it is about, where it looks like one and the pod can be read."""
    if body.find(_POD_KIND, 0, _POD_KIND_BEFORE) >= 0:
        try:
            review = decode_pod_review(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return decode_review(body)
        asked = review.request
        if asked is None or (asked.kind.kind == "Pod" and not asked.kind.group):
            return review
    return decode_review(body)


def manifest_request(
    kind: GroupKind,
    raw: bytes,
    *,
    namespace: str,
    uid: str = "",
    workloads: Mapping[GroupKind, str] = NO_WORKLOADS,
) -> AdmissionRequest:
    """Return the request that creating an object from a manifest would make, asked offline.

    `kind` is the API group and kind, `raw` the object as JSON, `workloads` as in `read_review`. For a kind that isn't
    evaluated the request has no subject.
    """
    known = find_kind(kind, workloads)
    found, _, problem = read_object(known, raw) if known else (None, None, "")
    meta = found.metadata if found is not None else None
    return AdmissionRequest(
        phase=Phase.CHECK,
        uid=uid,
        operation="CREATE",
        resource=kind[1],
        namespace="" if known and known.subject in CLUSTER_SCOPED else namespace,
        name=(meta and (meta.name or meta.generate_name)) or "",
        subject=known.subject if known else None,
        object=found,
        template_pointer=_template_pointer(known, found),
        problem=problem,
    )


def _invalid_field(asked: ReviewedRequest, resource: str) -> str:
    """Return which field has a value that the API server never sends; empty where none has."""
    if asked.namespace and not is_dns_label(asked.namespace):
        return "namespace"
    if asked.operation and asked.operation not in OPERATIONS:
        return "operation"
    if resource and resource not in _USUAL_RESOURCES and not is_resource(resource):
        return "resource"
    return ""


def _without_content(uid: str, phase: Phase, problem: str) -> AdmissionRequest:
    """Return a request of which nothing is known but its uid."""
    return AdmissionRequest(
        phase,
        uid,
        operation="",
        resource="",
        namespace="",
        name="",
        subject=None,
        problem=f"the AdmissionReview can't be read: {problem}",
    )


def _request(
    asked: ReviewedObjectRequest | ReviewedPodRequest, resource: str, phase: Phase, workloads: Mapping[GroupKind, str]
) -> AdmissionRequest:
    known = _kind_of(asked, workloads)
    user = asked.user_info or NOBODY
    found = old = None
    problem = ""
    if known:
        found, old, problem = asked.read(known)
    return AdmissionRequest(
        phase,
        asked.uid or "",
        asked.operation or "",
        resource,
        asked.namespace or "",
        asked.name or "",
        known.subject if known else None,
        user.username or "",
        user.groups or (),
        found,
        old,
        _template_pointer(known, found),
        bool(asked.dry_run),
        problem,
    )


def _template_pointer(known: Kind | None, found: object) -> str:
    if isinstance(found, CustomWorkload):
        return found.at
    return known.template_pointer if known else ""


def _kind_of(asked: ReviewedRequest, workloads: Mapping[GroupKind, str]) -> Kind | None:
    known = find_kind((asked.kind.group or "", asked.kind.kind or ""), workloads)
    if known is None or asked.operation in known.operations:
        return known
    is_ephemeral = known.subject is Subject.POD and asked.sub_resource == "ephemeralcontainers"
    return EPHEMERAL_CONTAINERS if is_ephemeral else None


def _salvaged(body: bytes, phase: Phase, error: Exception) -> AdmissionRequest:
    """Answer a review that is wrong in some place, if it is JSON and its uid can be found."""
    why = "it nests too deep" if isinstance(error, RecursionError) else str(error)
    uid = find_uid(body)
    if uid:
        return _without_content(uid, phase, why)
    if isinstance(error, RecursionError):
        raise InvalidReviewError("the body can't be read: it nests too deep") from error
    if isinstance(error, msgspec.ValidationError):
        raise InvalidReviewError(f"the body is not an AdmissionReview: {why}") from error
    raise InvalidReviewError(f"the body is not JSON: {why}") from error
