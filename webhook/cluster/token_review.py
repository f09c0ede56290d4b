"""TokenReviews, and what the API server publishes about itself as an issuer of tokens.

No error contains a token, whatever the API server quotes.
"""

from collections.abc import Sequence

import msgspec

from webhook.cluster.transport import ApiError, Transport
from webhook.tokens.jwks import JwksError, parse_jwks
from webhook.tokens.verification import Issuer, TokenReviewResult

_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_KEYS = "/openid/v1/jwks"
_ISSUER = "/.well-known/openid-configuration"
_MIN_QUOTED = 16
"""A message that contains this many characters of the token in a row quotes it."""


class _User(msgspec.Struct):
    username: str | None = None


class _Status(msgspec.Struct):
    authenticated: bool | None = None
    user: _User | None = None
    audiences: list[str] | None = None
    error: str | None = None


class _TokenReview(msgspec.Struct):
    status: _Status | None = None


class _Discovery(msgspec.Struct):
    issuer: str


def review(transport: Transport, token: bytes, audiences: Sequence[str]) -> TokenReviewResult:
    """Create a TokenReview of a token for one of the audiences (default: the API server's). Raises `ApiError`."""
    text = token.strip().decode()
    spec = {"token": text, "audiences": list(audiences)}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    try:
        answer = transport.post(_REVIEWS, request)
        status = msgspec.json.decode(answer, type=_TokenReview).status or _Status()
    except ApiError as error:
        if error.status == 403:
            more = "; bind ClusterRole system:auth-delegator to create tokenreviews, or use --jwks"
            raise ApiError(403, f"{_without_token(str(error), text)}{more}") from None
        raise ApiError(error.status, _without_token(str(error), text)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(0, "the API server's answer is not a TokenReview") from None
    user = status.user or _User()
    return TokenReviewResult(
        authenticated=bool(status.authenticated),
        username=user.username or "",
        audiences=tuple(status.audiences or ()),
        error=_without_token(status.error or "", text),
    )


def published_issuer(transport: Transport) -> Issuer:
    """Return the API server's keys and its name as an issuer. Raises `ApiError`."""
    try:
        keys = parse_jwks(transport.get(_KEYS, {}, "application/jwk-set+json"))
        name = msgspec.json.decode(transport.get(_ISSUER, {}, "application/json"), type=_Discovery).issuer
    except JwksError as error:
        raise ApiError(0, f"what the API server publishes at {_KEYS} {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(0, f"what the API server publishes at {_ISSUER} names no issuer") from None
    return Issuer(keys, name)


def _without_token(message: str, token: str) -> str:
    """Return the message, or a replacement if it quotes the token."""
    parts = (message[at : at + _MIN_QUOTED] for at in range(len(message) - _MIN_QUOTED + 1))
    return "the message is not shown because it quotes the token" if any(part in token for part in parts) else message
