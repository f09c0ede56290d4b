"""Whether a token is accepted, for whom, and why not otherwise: as the API server says, or by the issuer's keys."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field

from webhook.core.text import listing, plain, quote
from webhook.tokens.claims import Token, TokenKind
from webhook.tokens.humanize import humanize_interval
from webhook.tokens.jwks import KeySet, signature_problem
from webhook.tokens.policy_check import api_audiences
from webhook.tokens.problems import claims_problems, time_problems

LEEWAY = dt.timedelta(minutes=1)
"""How much the API server lets clocks differ."""
BY_REVIEW = "the API server, by TokenReview"
BY_KEYS = "the issuer's keys alone: whether its account and what it is bound to still exist was not asked"
LEGACY_ISSUER = "kubernetes/serviceaccount"
_UNAWARE = "the API server has taken it for itself, and named no audience: so it is for the API server alone"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issues tokens: its keys, and its name, empty where that isn't known."""

    keys: KeySet
    name: str = ""


@dataclass(frozen=True, slots=True)
class TokenReviewResult:
    """The API server's answer to a TokenReview."""

    authenticated: bool
    username: str = ""
    audiences: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A token that is presented to be checked, as a whole and as it was read, and the audiences it is to be for.

    No audience stands for the API server's; of several, one that fits is enough, as for a TokenReview.
    """

    text: bytes = field(repr=False)
    token: Token
    audiences: tuple[str, ...]
    now: dt.datetime


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """What became of a token.

    `audiences` are those that it was accepted for, none where that is the API server and it doesn't say by which name;
    `refused` those of the asked that it wasn't. `account` is whose it is: where it was refused, only by its own claim.
    `reasons` say why it was refused, `notes` what else there is to know.
    """

    accepted: bool
    by: str
    account: str
    audiences: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def verify_with_keys(shown: PresentedToken, issuer: Issuer) -> VerificationResult:
    """Return what the API server would say about a token, as far as that can be known from its issuer's keys.

    What no issuer makes is refused, though the API server lets it pass where the signature is right: a token without
    end that is no legacy one, and one whose subject isn't its account.
    """
    reasons = tuple(f"it {one}" for one in _amiss(shown, issuer))
    if reasons:
        return _refused(shown, BY_KEYS, reasons)
    uncompared = f"its issuer, {quote(shown.token.issuer)}, was compared with none: give --issuer"
    notes = () if issuer.name else (uncompared,)
    audiences = _fitting(shown, issuer.name) if shown.audiences or shown.token.audiences else ()
    return _accepted(shown, BY_KEYS, audiences, shown.token.username, notes)


def verify_by_review(shown: PresentedToken, review: TokenReviewResult, issuer: Issuer | None) -> VerificationResult:
    """Return what the API server has said, and where that was no, all that can be seen of the reasons.

    `issuer` is what the API server publishes of itself, None where it can't be had.
    """
    if review.authenticated and (review.audiences or not shown.audiences):
        return _accepted(shown, BY_REVIEW, review.audiences, review.username)
    no = f"the API server says: {plain(review.error)}" if review.error else "the API server says no, and not why"
    said = _UNAWARE if review.authenticated else no
    seen = [f"it {one}" for one in _amiss(shown, issuer)]
    if not seen and issuer:
        named = ", ".join(["its account", *(f"{bound.kind} {plain(bound.name)}" for bound in shown.token.bound)])
        seen = [f"the token by itself is right: look whether these are still there, and no later ones: {named}"]
    return _refused(shown, BY_REVIEW, (said, *seen))


def _accepted(
    shown: PresentedToken, by: str, audiences: tuple[str, ...], account: str, notes: tuple[str, ...] = ()
) -> VerificationResult:
    refused = tuple(one for one in shown.audiences if one not in audiences)
    notes = (*notes, *_stale(shown.token, shown.now))
    return VerificationResult(accepted=True, by=by, audiences=audiences, refused=refused, account=account, notes=notes)


def _refused(shown: PresentedToken, by: str, reasons: tuple[str, ...]) -> VerificationResult:
    account = shown.token.username or shown.token.subject
    return VerificationResult(accepted=False, by=by, refused=shown.audiences, account=account, reasons=reasons)


def _amiss(shown: PresentedToken, issuer: Issuer | None) -> Iterator[str]:
    token = shown.token
    if issuer:
        signature = signature_problem(shown.text, token, issuer.keys)
        if signature:
            yield signature
        if issuer.name and token.issuer != issuer.name and not _is_legacys(token):
            yield f"was issued by {quote(token.issuer)}, not by {quote(issuer.name)}"
    yield from claims_problems(token)
    if not (token.kind is TokenKind.LEGACY and token.expires_at is None):
        yield from time_problems(token, shown.now, LEEWAY)
    name = issuer.name if issuer else ""
    if (issuer or shown.audiences) and not _fitting(shown, name):
        to = listing(token.audiences) if token.audiences else "the API server alone"
        api_server = f"the API server ({listing(_api_servers(token, name))})"
        wanted = listing(shown.audiences) if shown.audiences else api_server
        yield f"is made out to {to}, not to {wanted}"


def _is_legacys(token: Token) -> bool:
    return token.kind is TokenKind.LEGACY and token.issuer == LEGACY_ISSUER


def _fitting(shown: PresentedToken, issuer: str) -> tuple[str, ...]:
    """Return for whom of those that are asked for a token is; one that names none is for the API server."""
    own = _api_servers(shown.token, issuer)
    held = shown.token.audiences or own
    return tuple(one for one in shown.audiences or own if one in held)


def _api_servers(token: Token, issuer: str) -> tuple[str, ...]:
    return api_audiences(issuer or ("" if _is_legacys(token) else token.issuer))


def _stale(token: Token, now: dt.datetime) -> Iterator[str]:
    if token.warn_after is not None and token.warn_after <= now:
        yield f"it is stale: the end that it was asked for has passed {humanize_interval(token.warn_after, now)} ago"
