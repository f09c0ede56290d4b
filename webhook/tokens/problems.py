"""What is amiss with a token by what it says of itself, whatever the policy."""

import datetime as dt
from collections.abc import Iterator

from webhook.core.text import quote
from webhook.tokens.claims import ALGORITHMS, Token, TokenKind
from webhook.tokens.humanize import humanize_interval, humanize_seconds


def find_problems(token: Token, now: dt.datetime) -> Iterator[str]:
    """Yield what is amiss, each in one line, to be read after 'it'."""
    yield from claims_problems(token)
    yield from algorithm_problems(token)
    yield from time_problems(token, now)
    stated, lifetime = token.requested_lifetime, token.lifetime
    if stated is not None and lifetime is not None:
        yield (
            f"says {humanize_seconds(stated)}, lives {humanize_seconds(lifetime)}: what its issuer does for 3607 "
            "seconds bound to a pod"
        )


def claims_problems(token: Token) -> Iterator[str]:
    """Yield why its claims aren't those of an account's token."""
    if token.kind is TokenKind.OTHER:
        yield "is no service account's token: no claim names namespace and account"
    elif token.subject != token.username:
        yield f"is inconsistent: its subject is {quote(token.subject)}, its account {quote(token.username)}"


def algorithm_problems(token: Token) -> Iterator[str]:
    """Yield why no API server would take its signature, whoever made it."""
    if token.algorithm.lower() == "none":
        yield "is signed by nobody (alg: none), so anybody may have written it"
    elif token.algorithm not in ALGORITHMS:
        yield f"is signed with {quote(token.algorithm)}; Kubernetes signs with {', '.join(ALGORITHMS)}"


def time_problems(token: Token, now: dt.datetime, leeway: dt.timedelta = dt.timedelta()) -> Iterator[str]:
    """Yield why it isn't valid now; a clock that differs by as much as `leeway` is forgiven."""
    if token.expires_at is None:
        yield "never expires"
    elif token.expires_at + leeway <= now:
        yield f"has expired {humanize_interval(token.expires_at, now)} ago"
    if token.not_before is not None and token.not_before - leeway > now:
        yield f"is not yet valid, for {humanize_interval(now, token.not_before)}"
    elif token.issued_at is not None and token.issued_at - leeway > now:
        yield f"was issued in the future, in {humanize_interval(now, token.issued_at)}"
