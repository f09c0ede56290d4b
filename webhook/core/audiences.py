"""Whether a token may be issued for an audience, and what to do if not."""

from collections.abc import Collection
from itertools import chain

from webhook.core.formatting import did_you_mean
from webhook.core.selectors import Globs


def is_allowed(audience: str, allowed: Globs, api_audiences: Collection[str]) -> bool:
    """Return whether it is: the API server's own audiences always are, and without any pattern, all are."""
    return not allowed or audience in api_audiences or allowed.match(audience)


def audience_hint(
    audience: str, allowed: Globs, api_audiences: Collection[str], *, guess: bool = True, in_full: bool = False
) -> str | None:
    """Return None if the audience is allowed, else what to do.

    `guess` looks for the audience that was meant, which takes longer than all the rest; `in_full` lists the allowed
    ones besides a guess.
    """
    if is_allowed(audience, allowed, api_audiences):
        return None
    hint = did_you_mean(audience, chain(allowed.patterns, api_audiences)).removeprefix("; ") if guess else ""
    if "*" in hint:
        hint = hint.replace("mean ", "mean one like ", 1)
    return hint if hint and not in_full else f"{hint} {use_one_of(allowed)}".lstrip()


def use_one_of(allowed: Globs) -> str:
    """Return what to do about an audience that is not allowed."""
    return f"use {allowed.listed or 'that of the API server'}"
