"""What is known about a token without verifying it: its claims, their problems, and the policy's decision.

The policy's decision is that about the request that would create the token.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import msgspec

from webhook.core import lifetimes
from webhook.core.admission_request import manifest_request
from webhook.core.cluster_state import FALLBACK_API_AUDIENCES, NO_LABELS, ClusterState
from webhook.core.decision import Decision, Outcome
from webhook.core.evaluate import evaluate
from webhook.core.policy.model import Policy
from webhook.core.selectors import Labels
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE
from webhook.tokens.claims import Token, TokenKind
from webhook.tokens.problems import find_problems


@dataclass(frozen=True, slots=True)
class TokenInspection:
    """A token at the time `now`. `decision` is None if it is not a service account token.

    `policy_origin` says where its policy comes from.
    """

    token: Token
    now: dt.datetime
    problems: tuple[str, ...]
    decision: Decision | None
    policy_origin: str = "built-in defaults"

    @property
    def has_findings(self) -> bool:
        """Whether there is a problem, or the policy would not simply allow such a token."""
        return bool(self.problems or (self.decision and self.decision.outcome is not Outcome.ALLOWED))


def inspect_token(token: Token, policy: Policy, now: dt.datetime, labels: Labels) -> TokenInspection:
    """Return what a token says of itself, and what the policy says; `labels` are those of its namespace."""
    decision = check_against_policy(token, policy, now, labels)
    return TokenInspection(token, now, tuple(find_problems(token, now)), decision)


def check_against_policy(token: Token, policy: Policy, now: dt.datetime, labels: Labels = NO_LABELS) -> Decision | None:
    """Return the decision about a TokenRequest for such a token or, if it is a legacy token, about such a Secret.

    `labels` are those of its namespace. None if it is not a service account token. An audience that equals the issuer
    counts as the API server's, which is Kubernetes' default.
    """
    if token.kind is TokenKind.OTHER:
        return None
    if token.kind is TokenKind.LEGACY:
        kind = ("", "Secret")
        name = "".join(bound.name for bound in token.bound)
        metadata = {"name": name, "annotations": {LEGACY_TOKEN_ACCOUNT: token.account}}
        manifest: dict[str, Any] = {"metadata": metadata, "type": LEGACY_TOKEN_TYPE}
    else:
        lifetime = lifetimes.MAX_EXPIRATION if token.lifetime is None else token.lifetime
        spec: dict[str, Any] = {"audiences": token.audiences, "expirationSeconds": lifetime}
        if token.bound:
            spec["boundObjectRef"] = {"kind": token.bound[0].kind, "name": token.bound[0].name}
        kind = ("authentication.k8s.io", "TokenRequest")
        manifest = {"metadata": {"name": token.account}, "spec": spec}
    request = manifest_request(kind, msgspec.json.encode(manifest), namespace=token.namespace)
    cluster = ClusterState(namespaces={token.namespace: labels}, api_audiences=api_audiences(token.issuer))
    return evaluate(request, policy, cluster, now)


def api_audiences(issuer: str) -> tuple[str, ...]:
    """Return the audiences of an API server with this issuer, unless it is configured with others."""
    return tuple(dict.fromkeys((*FALLBACK_API_AUDIENCES, *((issuer,) if issuer else ()))))
