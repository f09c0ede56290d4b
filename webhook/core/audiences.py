"""Whether a token may be made out to an audience, and what to say where it may not."""

from collections.abc import Collection
from itertools import chain

from webhook.core.formatting import did_you_mean
from webhook.core.selectors import Globs


def is_allowed(audience: str, allowed: Globs, api_audiences: Collection[str]) -> bool:
    """Say whether it is: the API server's own audiences always are, and where no pattern is given, all are."""
    return not allowed or audience in api_audiences or allowed.match(audience)


def refusal(
    audience: str, allowed: Globs, api_audiences: Collection[str], *, guess: bool = True, in_full: bool = False
) -> str | None:
    """Return None where the audience is allowed, else what to do in its place.

    `guess` says whether to look for what was meant, which takes longer than all the rest; `in_full` whether to list
    what is allowed beside a guess, too.
    """
    if is_allowed(audience, allowed, api_audiences):
        return None
    hint = did_you_mean(audience, chain(allowed.patterns, api_audiences)).removeprefix("; ") if guess else ""
    return hint if hint and not in_full else f"{hint} use one of {allowed.listed}".lstrip()
