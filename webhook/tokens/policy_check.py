"""What a policy decides about a token: the request that would create it is evaluated like any other."""

import datetime as dt
from typing import Any

import msgspec

from webhook.core import lifetimes
from webhook.core.admission_request import AdmissionRequest, manifest_request
from webhook.core.cluster_state import FALLBACK_API_AUDIENCES, NO_LABELS, ClusterState
from webhook.core.decision import Decision
from webhook.core.evaluate import evaluate
from webhook.core.policy.model import Policy
from webhook.core.selectors import Labels
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE
from webhook.tokens.claims import Token, TokenKind


def check_against_policy(token: Token, policy: Policy, now: dt.datetime, labels: Labels = NO_LABELS) -> Decision | None:
    """Return the decision about a TokenRequest for such a token or, if it is a legacy token, about such a Secret.

    `labels` are those of its namespace. None if it is not a service account token. An audience that equals the issuer
    counts as the API server's, which is Kubernetes' default.
    """
    if token.kind is TokenKind.OTHER:
        return None
    cluster = ClusterState(namespaces={token.namespace: labels}, api_audiences=api_audiences(token.issuer))
    return evaluate(_request_for(token), policy, cluster, now)


def api_audiences(issuer: str) -> tuple[str, ...]:
    """Return the audiences of an API server with this issuer, unless it is configured with others."""
    return tuple(dict.fromkeys((*FALLBACK_API_AUDIENCES, *((issuer,) if issuer else ()))))


def _request_for(token: Token) -> AdmissionRequest:
    if token.kind is TokenKind.LEGACY:
        name = "".join(bound.name for bound in token.bound)
        metadata = {"name": name, "annotations": {LEGACY_TOKEN_ACCOUNT: token.account}}
        return _create(("", "Secret"), {"metadata": metadata, "type": LEGACY_TOKEN_TYPE}, token.namespace)
    lifetime = lifetimes.MAX_EXPIRATION if token.lifetime is None else token.lifetime
    spec: dict[str, Any] = {"audiences": token.audiences, "expirationSeconds": lifetime}
    if token.bound:
        spec["boundObjectRef"] = {"kind": token.bound[0].kind, "name": token.bound[0].name}
    request = {"metadata": {"name": token.account}, "spec": spec}
    return _create(("authentication.k8s.io", "TokenRequest"), request, token.namespace)


def _create(kind: tuple[str, str], manifest: dict[str, Any], namespace: str) -> AdmissionRequest:
    return manifest_request(kind, msgspec.json.encode(manifest), namespace=namespace)
