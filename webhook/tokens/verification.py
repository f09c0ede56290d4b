"""Whether a token is accepted, for which audiences, and why not: by TokenReview or by the issuer's keys."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field

from webhook.core.formatting import listing, plain, quote
from webhook.tokens.claims import Token, TokenKind
from webhook.tokens.humanize import humanize_interval
from webhook.tokens.inspection import api_audiences
from webhook.tokens.jwks import KeySet, signature_problem
from webhook.tokens.problems import claims_problems, time_problems

LEEWAY = dt.timedelta(minutes=1)
"""The clock skew that the API server tolerates."""
BY_REVIEW = "TokenReview by the API server"
BY_KEYS = "the issuer's keys; whether its account and bound objects still exist was not checked"
LEGACY_ISSUER = "kubernetes/serviceaccount"
_NO_AUDIENCES = "the API server accepted the token but ignored the audience: the token is valid for the API server only"


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer's keys and its name; the name is empty if it is unknown."""

    keys: KeySet
    name: str = ""


@dataclass(frozen=True, slots=True)
class TokenReviewResult:
    """The status of a TokenReview."""

    authenticated: bool
    username: str = ""
    audiences: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A token to verify, as text and decoded, and the audiences of which one must match.

    Without audiences those of the API server count, as for a TokenReview.
    """

    text: bytes = field(repr=False)
    token: Token
    audiences: tuple[str, ...]
    now: dt.datetime


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The result of a verification.

    The token is valid for `audiences`, of the requested ones not for `rejected`. If it is accepted and both are empty,
    it is valid for the API server. If it is rejected, `account` is only a claim and `reasons` say why.
    """

    accepted: bool
    method: str
    account: str
    audiences: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def verify_with_keys(presented: PresentedToken, issuer: Issuer) -> VerificationResult:
    """Return what the API server would say, as far as the issuer's keys can show.

    Stricter than the API server: rejects correctly signed tokens that no issuer makes, with a subject that does not
    match the account, or without an expiry although they are not legacy tokens.
    """
    token = presented.token
    reasons = tuple(_find_reasons(presented, issuer))
    if reasons:
        return _rejected(presented, BY_KEYS, reasons)
    notes = () if issuer.name else (f"issuer {quote(token.issuer)} not verified; set --issuer",)
    audiences = _matching_audiences(presented, issuer.name) if presented.audiences or token.audiences else ()
    return _accepted(presented, BY_KEYS, audiences, token.username, notes)


def verify_by_review(presented: PresentedToken, review: TokenReviewResult, issuer: Issuer | None) -> VerificationResult:
    """Return the API server's answer and, if it rejects the token, every reason that can be found.

    `issuer` is what the API server publishes about itself, or None.
    """
    if review.authenticated and (review.audiences or not presented.audiences):
        return _accepted(presented, BY_REVIEW, review.audiences, review.username)
    error = f"the API server says: {plain(review.error)}" if review.error else "the API server gives no reason"
    reasons = list(_find_reasons(presented, issuer))
    if not reasons and issuer:
        names = ", ".join(["its account", *(f"{bound.kind} {plain(bound.name)}" for bound in presented.token.bound)])
        reasons = [f"the token itself is valid; check whether these were deleted or recreated: {names}"]
    return _rejected(presented, BY_REVIEW, (_NO_AUDIENCES if review.authenticated else error, *reasons))


def _accepted(
    presented: PresentedToken, method: str, audiences: tuple[str, ...], account: str, notes: tuple[str, ...] = ()
) -> VerificationResult:
    rejected = tuple(audience for audience in presented.audiences if audience not in audiences)
    warn_after = presented.token.warn_after
    if warn_after is not None and warn_after <= presented.now:
        notes = (*notes, f"stale: its requested lifetime ended {humanize_interval(warn_after, presented.now)} ago")
    return VerificationResult(
        accepted=True, method=method, account=account, audiences=audiences, rejected=rejected, notes=notes
    )


def _rejected(presented: PresentedToken, method: str, reasons: tuple[str, ...]) -> VerificationResult:
    account = presented.token.username or presented.token.subject
    return VerificationResult(
        accepted=False, method=method, account=account, rejected=presented.audiences, reasons=reasons
    )


def _find_reasons(presented: PresentedToken, issuer: Issuer | None) -> Iterator[str]:
    token = presented.token
    if issuer:
        problem = signature_problem(presented.text, token, issuer.keys)
        if problem:
            yield problem
        if issuer.name and token.issuer != issuer.name and not _has_legacy_issuer(token):
            yield f"issued by {quote(token.issuer)}, not by {quote(issuer.name)}"
    yield from claims_problems(token)
    if not (token.kind is TokenKind.LEGACY and token.expires_at is None):
        yield from time_problems(token, presented.now, LEEWAY)
    name = issuer.name if issuer else ""
    if (issuer or presented.audiences) and not _matching_audiences(presented, name):
        actual = listing(token.audiences) if token.audiences else "the API server only"
        api_server = f"the API server ({listing(_api_server_audiences(token, name))})"
        expected = listing(presented.audiences) if presented.audiences else api_server
        yield f"issued for {actual}, not for {expected}"


def _has_legacy_issuer(token: Token) -> bool:
    return token.kind is TokenKind.LEGACY and token.issuer == LEGACY_ISSUER


def _matching_audiences(presented: PresentedToken, issuer: str) -> tuple[str, ...]:
    """Return the requested audiences that the token is issued for; one without audiences is for the API server."""
    api_server = _api_server_audiences(presented.token, issuer)
    actual = presented.token.audiences or api_server
    return tuple(audience for audience in presented.audiences or api_server if audience in actual)


def _api_server_audiences(token: Token, issuer: str) -> tuple[str, ...]:
    return api_audiences(issuer or ("" if _has_legacy_issuer(token) else token.issuer))
