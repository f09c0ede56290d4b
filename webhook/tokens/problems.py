"""What is amiss with a token by what it says of itself, whatever the policy."""

import datetime as dt
from collections.abc import Iterator

from webhook.core.text import quote
from webhook.tokens.claims import ALGORITHMS, Kind, Token
from webhook.tokens.humanize import between, spelled


def notices(token: Token, now: dt.datetime) -> Iterator[str]:
    """Yield what is amiss, each in one line, to be read after 'it'."""
    yield from claims_amiss(token)
    yield from algorithm_amiss(token)
    yield from times_amiss(token, now)
    stated, lifetime = token.stated_lifetime, token.lifetime
    if stated is not None and lifetime is not None:
        yield f"says {spelled(stated)}, lives {spelled(lifetime)}: what its issuer does for 3607 seconds bound to a pod"


def claims_amiss(token: Token) -> Iterator[str]:
    """Yield why its claims aren't those of an account's token."""
    if token.kind is Kind.OTHER:
        yield "is no service account's token: no claim names namespace and account"
    elif token.subject != token.username:
        yield f"is inconsistent: its subject is {quote(token.subject)}, its account {quote(token.username)}"


def algorithm_amiss(token: Token) -> Iterator[str]:
    """Yield why no API server would take its signature, whoever made it."""
    if token.algorithm.lower() == "none":
        yield "is signed by nobody (alg: none), so anybody may have written it"
    elif token.algorithm not in ALGORITHMS:
        yield f"is signed with {quote(token.algorithm)}; Kubernetes signs with {', '.join(ALGORITHMS)}"


def times_amiss(token: Token, now: dt.datetime, leeway: dt.timedelta = dt.timedelta()) -> Iterator[str]:
    """Yield why it isn't valid now; a clock that differs by as much as `leeway` is forgiven."""
    if token.ends is None:
        yield "never expires"
    elif token.ends + leeway <= now:
        yield f"has expired {between(token.ends, now)} ago"
    if token.starts is not None and token.starts - leeway > now:
        yield f"is not yet valid, for {between(now, token.starts)}"
    elif token.issued is not None and token.issued - leeway > now:
        yield f"was issued in the future, in {between(now, token.issued)}"
