"""Problems of a token that its own claims show, whatever the policy."""

import datetime as dt
from collections.abc import Iterator

from webhook.core.formatting import quote
from webhook.tokens.claims import ALGORITHMS, Token, TokenKind
from webhook.tokens.humanize import humanize_interval, humanize_seconds


def find_problems(token: Token, now: dt.datetime) -> Iterator[str]:
    """Yield each problem in one line."""
    yield from claims_problems(token)
    yield from algorithm_problems(token)
    yield from time_problems(token, now)
    requested, lifetime = token.requested_lifetime, token.lifetime
    if requested is not None and lifetime is not None:
        yield (
            f"requested for {humanize_seconds(requested)}, but valid for {humanize_seconds(lifetime)}: the API server "
            "extends a pod's token of 3607 seconds"
        )


def claims_problems(token: Token) -> Iterator[str]:
    """Yield why its claims are not those of a service account token."""
    if token.kind is TokenKind.OTHER:
        yield "not a service account token: no claim names a namespace and a ServiceAccount"
    elif token.subject != token.username:
        yield f"inconsistent: the subject is {quote(token.subject)}, the account {quote(token.username)}"


def algorithm_problems(token: Token) -> Iterator[str]:
    """Yield why no API server accepts its signature algorithm."""
    if token.algorithm.lower() == "none":
        yield "unsigned (alg: none): anyone could have written it"
    elif token.algorithm not in ALGORITHMS:
        yield f"signed with {quote(token.algorithm)}; Kubernetes signs with {', '.join(ALGORITHMS)}"


def time_problems(token: Token, now: dt.datetime, leeway: dt.timedelta = dt.timedelta()) -> Iterator[str]:
    """Yield why it is not valid at `now`; clocks may differ by `leeway`."""
    if token.expires_at is None:
        yield "never expires"
    elif token.expires_at + leeway <= now:
        yield f"expired {humanize_interval(token.expires_at, now)} ago"
    if token.not_before is not None and token.not_before - leeway > now:
        yield f"not valid for another {humanize_interval(now, token.not_before)}"
    elif token.issued_at is not None and token.issued_at - leeway > now:
        yield f"issued {humanize_interval(now, token.issued_at)} in the future"
