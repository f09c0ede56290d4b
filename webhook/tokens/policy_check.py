"""What a policy says about a token: the question that asks for such a one, check_against_policy like any other."""

import datetime as dt
from typing import Any

import msgspec

from webhook.core import lifetimes
from webhook.core.cluster import FALLBACK_API_AUDIENCES, NO_LABELS, Cluster
from webhook.core.decision import Decision
from webhook.core.evaluate import evaluate
from webhook.core.policy.model import Policy
from webhook.core.request import Request, of_object
from webhook.core.selectors import Labels
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE
from webhook.tokens.claims import Token, TokenKind


def check_against_policy(token: Token, policy: Policy, now: dt.datetime, labels: Labels = NO_LABELS) -> Decision | None:
    """Return the decision about asking for such a token by hand, or for a legacy one, about making such a Secret.

    `labels` are those of its namespace. None where it is no service account's token. An audience that its issuer has
    the name of counts as the API server's, because that is Kubernetes' default.
    """
    if token.kind is TokenKind.OTHER:
        return None
    cluster = Cluster(namespaces={token.namespace: labels}, api_audiences=api_audiences(token.issuer))
    return evaluate(_request_for(token), policy, cluster, now)


def api_audiences(issuer: str) -> tuple[str, ...]:
    """Return the audiences that an API server with this issuer has, unless it is told others."""
    return tuple(dict.fromkeys((*FALLBACK_API_AUDIENCES, *((issuer,) if issuer else ()))))


def _request_for(token: Token) -> Request:
    if token.kind is TokenKind.LEGACY:
        names = [bound.name for bound in token.bound]
        meta = {"name": "".join(names), "annotations": {LEGACY_TOKEN_ACCOUNT: token.account}}
        return _create(("", "Secret"), {"metadata": meta, "type": LEGACY_TOKEN_TYPE}, token.namespace)
    spec: dict[str, Any] = {"audiences": token.audiences, "expirationSeconds": _requested_lifetime(token)}
    if token.bound:
        spec["boundObjectRef"] = {"kind": token.bound[0].kind, "name": token.bound[0].name}
    request = {"metadata": {"name": token.account}, "spec": spec}
    return _create(("authentication.k8s.io", "TokenRequest"), request, token.namespace)


def _create(kind: tuple[str, str], manifest: dict[str, Any], namespace: str) -> Request:
    return of_object(kind, msgspec.json.encode(manifest), namespace=namespace)


def _requested_lifetime(token: Token) -> int:
    """Return what would have to be asked for to get so long a life: what has no end counts as the longest."""
    return lifetimes.MAX_EXPIRATION if token.lifetime is None else token.lifetime
