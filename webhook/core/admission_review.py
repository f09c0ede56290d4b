"""An AdmissionReview as the API server sends it (admission.k8s.io/v1), cut down to what is read.

Separate from `webhook.core.admission_request`, because a compiled module has no structs that are decoded.
"""

import re
from typing import Any

import msgspec

from webhook.core.k8s_names import is_uid
from webhook.core.k8s_types import Object, PodTemplate
from webhook.core.kinds import Json, Kind

_NULL = b"null"
_NOTHING = msgspec.Raw(_NULL)
_NO_OBJECT = "the request has no object"


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


class ReviewedObjectRequest(ReviewedRequest, frozen=True):
    """A request about any object."""

    object: msgspec.Raw = _NOTHING

    def read(self, kind: Kind) -> tuple[Any, Any, str]:
        """Return the object and the one that it replaces, None where there is none, or why they can't be read."""
        return read_object(kind, self.object, self.old_object if kind.compares else None)


class AdmissionReview(Object, frozen=True):
    """A review of any object."""

    api_version: str | None = None
    kind: str | None = None
    request: ReviewedObjectRequest | None = None


class ReviewedPodRequest(ReviewedRequest, frozen=True):
    """A request about a pod."""

    object: PodTemplate | None = None

    def read(self, kind: Kind) -> tuple[Any, Any, str]:
        """Return what `ReviewedObjectRequest.read` does, of a kind that is read as a pod."""
        if self.object is None:
            return None, None, _NO_OBJECT
        if not kind.compares or bytes(self.old_object) == _NULL:
            return self.object, None, ""
        old, _, problem = read_object(kind, self.old_object)
        return (None, None, problem) if problem else (self.object, old, "")


class PodReview(Object, frozen=True):
    """A review of a pod, which most are, decoded at once with the pod."""

    api_version: str | None = None
    kind: str | None = None
    request: ReviewedPodRequest | None = None


class _Salvage(Object, frozen=True):
    """So much of a review as is needed to answer it, however wrong the rest."""

    request: msgspec.Raw = _NOTHING


class _SalvageUid(Object, frozen=True):
    uid: str | None = None


decode_review = msgspec.json.Decoder(AdmissionReview).decode
decode_pod_review = msgspec.json.Decoder(PodReview).decode
_decode_salvage = msgspec.json.Decoder(_Salvage).decode
_decode_uid = msgspec.json.Decoder(_SalvageUid).decode
_UID_AT_START = re.compile(
    rb'\s*{(?:\s*"(?:kind|apiVersion)"\s*:\s*"[\w./]*"\s*,)*\s*"request"\s*:\s*{\s*"uid"\s*:\s*"([\w-]{1,128})"'
)
"""The request's uid in what the API server writes, where nothing but the review's kind and version stand before it."""


def read_object(known: Kind, raw: Json, old_raw: Json | None = None) -> tuple[Any, Any, str]:
    """Return an object and the object that it replaces, None where there is none, or why they can't be read."""
    if bytes(raw) == _NULL:
        return None, None, _NO_OBJECT
    if old_raw is not None and bytes(old_raw) == _NULL:
        old_raw = None
    try:
        return *known.read(raw, old_raw), ""
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return None, None, f"the object can't be read: {error}"


def find_uid(body: bytes) -> str:
    """Return the request's uid, as far as it can be found; what nests too deep can't be decoded to find it."""
    try:
        uid = _decode_uid(_decode_salvage(body).request).uid or ""
    except RecursionError:
        found = _UID_AT_START.match(body)
        return found[1].decode() if found else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return uid if is_uid(uid) else ""
