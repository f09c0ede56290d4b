"""An AdmissionReview as the API server sends it (admission.k8s.io/v1), cut down to what is read.

Its structs are apart from `webhook.core.request`, which can be compiled: a compiled module has none that are decoded.
"""

import msgspec

from webhook.core.objects import Object, PodTemplate

_NOTHING = msgspec.Raw(b"null")


class _GroupVersionKind(Object, frozen=True):
    group: str | None = None
    kind: str | None = None


class _GroupVersionResource(Object, frozen=True):
    resource: str | None = None


class _UserInfo(Object, frozen=True):
    username: str | None = None
    groups: tuple[str, ...] | None = None


NOBODY = _UserInfo()


class ReviewedRequest(Object, frozen=True):
    """A request without its object."""

    uid: str | None = None
    kind: _GroupVersionKind = _GroupVersionKind()
    resource: _GroupVersionResource = _GroupVersionResource()
    sub_resource: str | None = None
    name: str | None = None
    namespace: str | None = None
    operation: str | None = None
    user_info: _UserInfo | None = None
    old_object: msgspec.Raw = _NOTHING
    dry_run: bool | None = None


class AdmissionRequest(ReviewedRequest, frozen=True):
    """A request about any object, which is left as it is."""

    object: msgspec.Raw = _NOTHING


class AdmissionReview(Object, frozen=True):
    """A review of any object."""

    api_version: str | None = None
    kind: str | None = None
    request: AdmissionRequest | None = None


class PodRequest(ReviewedRequest, frozen=True):
    """A request about a pod."""

    object: PodTemplate | None = None


class PodReview(Object, frozen=True):
    """A review of a pod, which most are, decoded at once with the pod."""

    api_version: str | None = None
    kind: str | None = None
    request: PodRequest | None = None


class _Salvage(Object, frozen=True):
    """So much of a review as is needed to answer it, however wrong the rest."""

    request: msgspec.Raw = _NOTHING


class _SalvageUid(Object, frozen=True):
    uid: str | None = None


decode_review = msgspec.json.Decoder(AdmissionReview).decode
decode_pod_review = msgspec.json.Decoder(PodReview).decode
decode_salvage = msgspec.json.Decoder(_Salvage).decode
decode_uid = msgspec.json.Decoder(_SalvageUid).decode
