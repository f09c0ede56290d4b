"""Whether a token may be issued for an audience, and what to do if not."""

from collections.abc import Collection
from itertools import chain

from webhook.core.formatting import did_you_mean, listing
from webhook.core.selectors import Globs


def is_allowed(audience: str, allowed: Globs, api_audiences: Collection[str]) -> bool:
    """Return whether it is: the API server's own audiences always are, and without any pattern, all are."""
    return not allowed or audience in api_audiences or allowed.match(audience)


def audience_hint(
    audience: str, allowed: Globs, api_audiences: Collection[str], *, guess: bool = True, in_full: bool = False
) -> str | None:
    """Return None if the audience is allowed, else what to do.

    `guess` looks for the audience that was meant, which takes longer than all the rest; `in_full` lists the allowed
    ones, without the API server's own, besides a guess.
    """
    if is_allowed(audience, allowed, api_audiences):
        return None
    hint = did_you_mean(audience, chain(allowed.patterns, api_audiences)).removeprefix("; ") if guess else ""
    if "*" in hint:
        hint = hint.replace("mean ", "mean one that matches ", 1)
    if in_full:
        return f"{hint} {use_one_of(allowed, or_api_server=False)}".lstrip()
    return hint or use_one_of(allowed)


def use_one_of(allowed: Globs, *, or_api_server: bool = True) -> str:
    """Return what to do about an audience that is not allowed: names to use, and patterns to match."""
    names = tuple(pattern for pattern in allowed.patterns if pattern in allowed.exact)
    parts = [f"one of {listing(names)}"] if names else []
    parts += [f"one that matches {listing(allowed.wild)}"] if allowed.wild else []
    parts += ["the API server's"] if or_api_server else []
    return f"use {', or '.join(parts)}"
