"""What rules look at that is no pod: what gives a ServiceAccount's token to somebody."""

from collections.abc import Mapping

import msgspec

from webhook.core import lifetimes
from webhook.core.cluster import Cluster
from webhook.core.objects import (
    LEGACY_TOKEN_ACCOUNT,
    LEGACY_TOKEN_TYPE,
    CSIDriver,
    Secret,
    ServiceAccount,
    TokenRequest,
)
from webhook.core.policy.model import NamespacePolicy, Policy
from webhook.core.request import Request


class TokenRequestView(msgspec.Struct, frozen=True, gc=False):
    """A token that is asked for by hand."""

    account: str
    namespace: str
    token_request: TokenRequest
    here: NamespacePolicy
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
        return lifetimes.capped(self.here.tokens.max_request, asked, for_api_server=self.for_api_server)


class SecretView(msgspec.Struct, frozen=True, gc=False):
    """A Secret that is made, and the request by which its account's token can be had without one."""

    account: str
    by_hand: TokenRequestView


class ServiceAccountView(msgspec.Struct, frozen=True, gc=False):
    """A ServiceAccount, and its namespace's legacy Secrets, each with the account of its token."""

    account: ServiceAccount
    legacy_tokens: Mapping[str, str]


class CSIDriverView(msgspec.Struct, frozen=True, gc=False):
    """A CSI driver, and what the policy says of the tokens that it gets."""

    driver: CSIDriver
    policy: NamespacePolicy
    api_audiences: tuple[str, ...]


AccountView = SecretView | ServiceAccountView | TokenRequestView | CSIDriverView
_NONE: Mapping[str, str] = {}


def account_view(
    request: Request, here: NamespacePolicy, policy: Policy, cluster: Cluster
) -> tuple[AccountView | None, str]:
    """Return what the rules look at, None where none does, and the name of the account that it is about."""
    found = request.object
    if isinstance(found, TokenRequest):
        view = TokenRequestView(request.name, request.namespace, found, here, policy.api_audiences(cluster))
        return view, request.name
    if isinstance(found, Secret):
        account = found.metadata.annotation(LEGACY_TOKEN_ACCOUNT)
        if found.type != LEGACY_TOKEN_TYPE:
            return None, account
        by_hand = TokenRequestView(account, request.namespace, TokenRequest(), here, policy.api_audiences(cluster))
        return SecretView(account, by_hand), account
    if isinstance(found, ServiceAccount):
        return ServiceAccountView(found, cluster.legacy_tokens.get(request.namespace, _NONE)), request.name
    if isinstance(found, CSIDriver):
        return CSIDriverView(found, here, policy.api_audiences(cluster)), ""
    return None, ""
