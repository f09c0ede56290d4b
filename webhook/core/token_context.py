"""What rules see of objects that are no pods: what gives a ServiceAccount's token to somebody."""

from collections.abc import Mapping

from webhook.core import lifetimes
from webhook.core.admission_request import AdmissionRequest
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.model import NamespacePolicy, Policy
from webhook.core.secret_content import ReviewedSecret
from webhook.core.structs import FrozenStruct
from webhook.core.token_objects import INVALID_SINCE, CSIDriver, ServiceAccount, TokenRequest


class TokenRequestContext(FrozenStruct, frozen=True):
    """A TokenRequest for an account of a namespace."""

    account: str
    namespace: str
    token_request: TokenRequest
    namespace_policy: NamespacePolicy
    api_audiences: tuple[str, ...]

    @property
    def for_api_server(self) -> bool:
        """Whether the token is bound to a pod and for the API server alone, so that 3607 seconds mean a year."""
        spec = self.token_request.spec
        bound = spec.bound_object_ref
        return (
            bound is not None
            and bound.kind == "Pod"
            and all(audience in self.api_audiences for audience in spec.audiences or ())
        )

    @property
    def lifetime(self) -> int:
        """How long the token would be valid, in seconds."""
        requested = self.token_request.spec.expiration_seconds
        return lifetimes.effective_lifetime(requested, for_api_server=self.for_api_server)

    @property
    def max_expiration(self) -> int:
        """The largest `expirationSeconds` that the policy allows in this request."""
        requested, maximum = (
            self.token_request.spec.expiration_seconds,
            self.namespace_policy.tokens.max_request_lifetime,
        )
        return lifetimes.capped_expiration(maximum, requested, for_api_server=self.for_api_server)


class SecretContext(FrozenStruct, frozen=True):
    """A Secret that is created, or updated from `old`.

    `token_request` is the request that the hint suggests instead of the Secret: for a token of the same account.
    """

    account: str
    namespace: str
    name: str
    secret: ReviewedSecret
    old: ReviewedSecret | None
    token_request: TokenRequestContext

    @property
    def token_account(self) -> str:
        """The account of the token in the Secret, by the token's own claims; without a token, that of the Secret."""
        return self.secret.token_account_in(self.namespace) or self.account

    @property
    def other_account(self) -> str | None:
        """The account of the token in the Secret, if it isn't the Secret's own."""
        return None if self.token_account == self.account else self.token_account

    @property
    def revives_token(self) -> bool:
        """Whether the request removes the label that invalidates the Secret's token."""
        return self.old is not None and _is_invalidated(self.old) and not _is_invalidated(self.secret)


class ServiceAccountContext(FrozenStruct, frozen=True):
    """A ServiceAccount, and its namespace's legacy Secrets, each with the account of its token."""

    account: ServiceAccount
    legacy_tokens: Mapping[str, str]


class CSIDriverContext(FrozenStruct, frozen=True):
    """A CSI driver, and what the policy says about the tokens that it gets."""

    driver: CSIDriver
    namespace_policy: NamespacePolicy
    api_audiences: tuple[str, ...]


TokenContext = SecretContext | ServiceAccountContext | TokenRequestContext | CSIDriverContext
_NONE: Mapping[str, str] = {}


def build_token_context(
    request: AdmissionRequest, namespace_policy: NamespacePolicy, policy: Policy, cluster: ClusterState
) -> tuple[TokenContext | None, str]:
    """Return the context of the request's object, None if no rule applies to it, and the account that it is about."""
    obj, namespace, name = request.object, request.namespace, request.name
    api_audiences = policy.api_audiences(cluster)
    if isinstance(obj, TokenRequest):
        return TokenRequestContext(name, namespace, obj, namespace_policy, api_audiences), name
    if isinstance(obj, ReviewedSecret):
        account = obj.account_in(namespace)
        if not (obj.is_legacy or obj.legacy_token):
            return None, account
        token_request = TokenRequestContext(account, namespace, TokenRequest(), namespace_policy, api_audiences)
        old = request.old_object if isinstance(request.old_object, ReviewedSecret) else None
        return SecretContext(account, namespace, name, obj, old, token_request), account
    if isinstance(obj, ServiceAccount):
        return ServiceAccountContext(obj, cluster.legacy_tokens.get(namespace, _NONE)), name
    if isinstance(obj, CSIDriver):
        return CSIDriverContext(obj, namespace_policy, api_audiences), ""
    return None, ""


def _is_invalidated(secret: ReviewedSecret) -> bool:
    return bool((secret.metadata.labels or {}).get(INVALID_SINCE))
