"""What rules look at that is no pod: what gives a ServiceAccount's token to somebody."""

from collections.abc import Mapping

from webhook.core import lifetimes
from webhook.core.admission_request import AdmissionRequest
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.model import NamespacePolicy, Policy
from webhook.core.secret_content import ReviewedSecret
from webhook.core.structs import FrozenStruct
from webhook.core.token_objects import INVALID_SINCE, CSIDriver, ServiceAccount, TokenRequest


class TokenRequestContext(FrozenStruct, frozen=True):
    """A token that is asked for by hand."""

    account: str
    namespace: str
    token_request: TokenRequest
    namespace_policy: NamespacePolicy
    api_audiences: tuple[str, ...]

    @property
    def for_api_server(self) -> bool:
        """Whether it is bound to a pod and for the API server alone, so that 3607 seconds mean a year."""
        spec = self.token_request.spec
        bound = spec.bound_object_ref
        return (
            bound is not None
            and bound.kind == "Pod"
            and all(audience in self.api_audiences for audience in spec.audiences or ())
        )

    @property
    def lifetime(self) -> int:
        """How long it would live, in seconds."""
        return lifetimes.projected(self.token_request.spec.expiration_seconds, for_api_server=self.for_api_server)

    @property
    def capped(self) -> int:
        """The most seconds that may be asked for in place of what was."""
        asked = self.token_request.spec.expiration_seconds
        return lifetimes.capped(
            self.namespace_policy.tokens.max_request_lifetime, asked, for_api_server=self.for_api_server
        )


class SecretContext(FrozenStruct, frozen=True):
    """A Secret that is created, or updated from `old`; `by_hand` asks for its account's token without a Secret."""

    account: str
    namespace: str
    name: str
    secret: ReviewedSecret
    old: ReviewedSecret | None
    by_hand: TokenRequestContext

    @property
    def token_account(self) -> str:
        """The account of the token in the Secret, by the token's own claims; without a token, that of the Secret."""
        return self.secret.token_account_in(self.namespace) or self.account

    @property
    def other_account(self) -> str | None:
        """The account of the token in the Secret where it isn't the Secret's own."""
        return None if self.token_account == self.account else self.token_account

    @property
    def revives_token(self) -> bool:
        """Whether the request removes the label that has the API server refuse the Secret's token."""
        return self.old is not None and _is_marked_invalid(self.old) and not _is_marked_invalid(self.secret)


class ServiceAccountContext(FrozenStruct, frozen=True):
    """A ServiceAccount, and its namespace's legacy Secrets, each with the account of its token."""

    account: ServiceAccount
    legacy_tokens: Mapping[str, str]


class CSIDriverContext(FrozenStruct, frozen=True):
    """A CSI driver, and what the policy says of the tokens that it gets."""

    driver: CSIDriver
    namespace_policy: NamespacePolicy
    api_audiences: tuple[str, ...]


TokenContext = SecretContext | ServiceAccountContext | TokenRequestContext | CSIDriverContext
_NONE: Mapping[str, str] = {}


def build_token_context(
    request: AdmissionRequest, namespace_policy: NamespacePolicy, policy: Policy, cluster: ClusterState
) -> tuple[TokenContext | None, str]:
    """Return what the rules look at, None where none does, and the name of the account that it is about."""
    found = request.object
    if isinstance(found, TokenRequest):
        context = TokenRequestContext(
            request.name, request.namespace, found, namespace_policy, policy.api_audiences(cluster)
        )
        return context, request.name
    if isinstance(found, ReviewedSecret):
        account = found.account_in(request.namespace)
        if not (found.is_legacy or found.legacy_token):
            return None, account
        by_hand = TokenRequestContext(
            account, request.namespace, TokenRequest(), namespace_policy, policy.api_audiences(cluster)
        )
        old = request.old_object if isinstance(request.old_object, ReviewedSecret) else None
        return SecretContext(account, request.namespace, request.name, found, old, by_hand), account
    if isinstance(found, ServiceAccount):
        return ServiceAccountContext(found, cluster.legacy_tokens.get(request.namespace, _NONE)), request.name
    if isinstance(found, CSIDriver):
        return CSIDriverContext(found, namespace_policy, policy.api_audiences(cluster)), ""
    return None, ""


def _is_marked_invalid(secret: ReviewedSecret) -> bool:
    return bool((secret.metadata.labels or {}).get(INVALID_SINCE))
