"""Whether a token may be made out to an audience, and what to say where it may not."""

from collections.abc import Collection
from itertools import chain

from webhook.core.selectors import Globs
from webhook.core.text import did_you_mean, listing


def refusal(audience: str, allowed: Globs, api_audiences: Collection[str], *, guess: bool = True) -> str | None:
    """Return None where the audience is allowed, else what to do in its place.

    The API server's own audiences are always allowed; where no pattern is given, all are. `guess` says whether to
    look for what was meant, which takes longer than all the rest.
    """
    if not allowed or audience in api_audiences or allowed.match(audience):
        return None
    hint = did_you_mean(audience, chain(allowed.patterns, api_audiences)).removeprefix("; ") if guess else ""
    return hint or f"allowed are {listing(allowed.patterns)}"
