"""What one line of an audit log tells, whichever log it is of."""

import datetime as dt
import re
from collections.abc import Iterable
from enum import IntEnum

import msgspec

LONGEST_NAME = 320
"""Longer than any namespace with its account; what is longer is cut, so that no log fills the memory with names."""


class Fate(IntEnum):
    """What became of a request, the strongest first. `NOTED` and `EXEMPTED` were let through as they were."""

    DENIED = 0
    PATCHED = 1
    WARNED = 2
    NOTED = 3
    EXEMPTED = 4
    ALLOWED = 5


FATES = tuple(fate for fate in Fate if fate is not Fate.ALLOWED)
OF_DECISION = {"denied": Fate.DENIED, "patched": Fate.PATCHED, "warned": Fate.WARNED, "allowed": Fate.ALLOWED}


class Verdict(msgspec.Struct, gc=False):
    """What was decided about a request. `account` is `namespace/name`, both parts empty where the log doesn't say.

    `rules` are those that are broken, each with what was done about it; `exemptions` those that were set aside, each
    with the reason. `key` is what the two webhooks' lines of one pod have in common, empty where there is but one.
    """

    time: dt.datetime
    fate: Fate
    namespace: str
    account: str
    rules: tuple[tuple[str, Fate], ...] = ()
    exemptions: tuple[tuple[str, str], ...] = ()
    dry_run: bool = False
    mutating: bool = False
    key: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def with_other(self, other: "Verdict") -> "Verdict":
        """Return what both webhooks did about one request: the stronger, and all rules."""
        return msgspec.structs.replace(
            self,
            fate=min(self.fate, other.fate),
            rules=strongest(self.rules + other.rules),
            exemptions=tuple(dict.fromkeys(self.exemptions + other.exemptions)),
            key=(),
        )


def strongest(rules: Iterable[tuple[str, Fate]]) -> tuple[tuple[str, Fate], ...]:
    """Return each rule once, with the strongest of what was done about it."""
    found: dict[str, Fate] = {}
    for name, fate in rules:
        rule = name[:LONGEST_NAME]
        known = found.get(rule)
        if known is None or fate < known:
            found[rule] = fate
    return tuple(found.items())


class TokenUse(msgspec.Struct, gc=False):
    """A request with a token that is past its hour (`legacy` false) or in a Secret.

    `user` is as the API server names it, `past` how many seconds past the hour, `about` whatever else was noted, and
    `pod` and `agent` say who it was that sent it, where that is known.
    """

    time: dt.datetime
    user: str
    legacy: bool
    past: int = 0
    about: tuple[str, ...] = ()
    pod: str = ""
    agent: str = ""


_LONGEST_REASON = 1000
_RULE_AT = re.compile(r"(?:^|\(until [^()]*\); )([a-z][a-z-]*): ")


def exemptions_in(text: str) -> tuple[tuple[str, str], ...]:
    """Return rules and reasons from what a line says: `rule: reason (until day); rule: reason (until day)`."""
    if not text:
        return ()
    found = list(_RULE_AT.finditer(text))
    ends = [one.start(1) for one in found[1:]] + [len(text)]
    return tuple(
        (one[1][:LONGEST_NAME], text[one.end() : min(end, one.end() + _LONGEST_REASON)].removesuffix("; "))
        for one, end in zip(found, ends, strict=True)
    )
