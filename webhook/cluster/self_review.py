"""What the API server says about the account of this process."""

from collections.abc import Mapping

import msgspec

from webhook.cluster.transport import ApiError, Transport


class _UserInfo(msgspec.Struct):
    username: str = ""


class _ReviewStatus(msgspec.Struct, rename="camel"):
    allowed: bool = False
    user_info: _UserInfo = msgspec.field(default_factory=_UserInfo)


class _SelfReview(msgspec.Struct):
    status: _ReviewStatus = msgspec.field(default_factory=_ReviewStatus)


def may_probe(transport: Transport, namespace: str) -> bool:
    """Return whether this account may create pods in a namespace. Raises `ApiError`."""
    attributes = {"namespace": namespace, "verb": "create", "resource": "pods"}
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    body = {**kind, "spec": {"resourceAttributes": attributes}}
    return _review(transport, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body).allowed


def user_name(transport: Transport) -> str:
    """Return the user name of this account. Raises `ApiError`."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return _review(transport, "/apis/authentication.k8s.io/v1/selfsubjectreviews", body).user_info.username


def _review(transport: Transport, path: str, body: Mapping[str, object]) -> _ReviewStatus:
    try:
        return msgspec.json.decode(transport.post(path, body), type=_SelfReview).status
    except msgspec.DecodeError:
        raise ApiError(0, f"cannot decode the answer to {body['kind']}") from None
