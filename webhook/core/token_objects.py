"""Objects that give tokens without being pods, cut down as in `webhook.core.k8s_types`."""

from typing import Annotated

import msgspec

from webhook.core.k8s_types import AnyWorkload, LocalObjectReference, Object, ObjectWithMeta, Pod

MAX_AUDIENCES = 1000
"""A TokenRequest with more audiences is invalid: each may be compared with every pattern of the policy."""
LEGACY_TOKEN_TYPE = "kubernetes.io/service-account-token"  # noqa: S105 - the type's name
LEGACY_TOKEN_ACCOUNT = "kubernetes.io/service-account.name"  # noqa: S105 - the annotation's name
LEGACY_TOKEN_ACCOUNT_UID = "kubernetes.io/service-account.uid"  # noqa: S105 - the annotation's name
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
"""The label, with any value but an empty one, that makes the API server reject a Secret's token."""


class Secret(ObjectWithMeta, frozen=True):
    """A Secret without its content."""

    type: str | None = None

    @property
    def account(self) -> str:
        """The ServiceAccount that its annotation names; empty if it names none."""
        return self.metadata.annotation(LEGACY_TOKEN_ACCOUNT)

    @property
    def is_legacy(self) -> bool:
        """Whether Kubernetes fills it with a token that never expires."""
        return self.type == LEGACY_TOKEN_TYPE


class ServiceAccount(ObjectWithMeta, frozen=True):
    """A ServiceAccount; `secrets` are those that its pods may use."""

    secrets: list[LocalObjectReference] | None = None
    automount_service_account_token: bool | None = None


class BoundObjectReference(Object, frozen=True):
    kind: str | None = None
    name: str | None = None


class TokenRequestSpec(Object, frozen=True):
    """The requested token; `expiration_seconds` defaults to 3600."""

    audiences: Annotated[list[str], msgspec.Meta(max_length=MAX_AUDIENCES)] | None = None
    expiration_seconds: int | None = None
    bound_object_ref: BoundObjectReference | None = None


class TokenRequest(ObjectWithMeta, frozen=True):
    given_spec: TokenRequestSpec | None = msgspec.field(default=None, name="spec")

    @property
    def spec(self) -> TokenRequestSpec:
        """Its spec, empty by default."""
        return self.given_spec or TokenRequestSpec()


class CSITokenRequest(Object, frozen=True):
    """A token that the kubelet passes to a CSI driver; `expiration_seconds` defaults to 3600."""

    audience: str | None = None
    expiration_seconds: int | None = None


class CSIDriverSpec(Object, frozen=True):
    token_requests: list[CSITokenRequest] | None = None


class CSIDriver(ObjectWithMeta, frozen=True):
    """A CSI driver; its tokens are those of the account of every pod that mounts one of its volumes."""

    spec: CSIDriverSpec | None = None

    @property
    def token_requests(self) -> list[CSITokenRequest]:
        """The tokens that it gets."""
        return (self.spec and self.spec.token_requests) or []


EvaluatedObject = Pod | AnyWorkload | Secret | ServiceAccount | TokenRequest | CSIDriver
