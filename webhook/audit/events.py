"""What one line of an audit log tells, whichever log it is of."""

import datetime as dt
import re
from collections.abc import Iterable
from enum import IntEnum

import msgspec

MAX_NAME = 320
"""Longer than any namespace with its account; what is longer is cut, so that no log fills the memory with names."""


class AuditOutcome(IntEnum):
    """What became of a request, the strongest first. `AUDITED` and `EXEMPTED` were let through as they were."""

    DENIED = 0
    PATCHED = 1
    WARNED = 2
    AUDITED = 3
    EXEMPTED = 4
    ALLOWED = 5


COUNTED_OUTCOMES = tuple(outcome for outcome in AuditOutcome if outcome is not AuditOutcome.ALLOWED)
OUTCOME_OF_DECISION = {
    "denied": AuditOutcome.DENIED,
    "patched": AuditOutcome.PATCHED,
    "warned": AuditOutcome.WARNED,
    "allowed": AuditOutcome.ALLOWED,
}


class DecisionEvent(msgspec.Struct, gc=False):
    """What was decided about a request. `account` is `namespace/name`, both parts empty where the log doesn't say.

    `rules` are those that are broken, each with what was done about it; `exemptions` those that were set aside, each
    with the reason. `key` is what the two webhooks' lines of one pod have in common, empty where there is but one.
    """

    time: dt.datetime
    outcome: AuditOutcome
    namespace: str
    account: str
    rules: tuple[tuple[str, AuditOutcome], ...] = ()
    exemptions: tuple[tuple[str, str], ...] = ()
    dry_run: bool = False
    mutating: bool = False
    key: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def merged_with(self, other: "DecisionEvent") -> "DecisionEvent":
        """Return what both webhooks did about one request: the stronger, and all rules."""
        return msgspec.structs.replace(
            self,
            outcome=min(self.outcome, other.outcome),
            rules=strongest_of_each_rule(self.rules + other.rules),
            exemptions=tuple(dict.fromkeys(self.exemptions + other.exemptions)),
            key=(),
        )


def strongest_of_each_rule(rules: Iterable[tuple[str, AuditOutcome]]) -> tuple[tuple[str, AuditOutcome], ...]:
    """Return each rule once, with the strongest_of_each_rule of what was done about it."""
    found: dict[str, AuditOutcome] = {}
    for name, outcome in rules:
        rule = name[:MAX_NAME]
        known = found.get(rule)
        if known is None or outcome < known:
            found[rule] = outcome
    return tuple(found.items())


class TokenUseEvent(msgspec.Struct, gc=False):
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


_MAX_REASON = 1000
_RULE_AT = re.compile(r"(?:^|\(until [^()]*\); )([a-z][a-z-]*): ")


def parse_exemptions(text: str) -> tuple[tuple[str, str], ...]:
    """Return rules and reasons from what a line says: `rule: reason (until day); rule: reason (until day)`."""
    if not text:
        return ()
    found = list(_RULE_AT.finditer(text))
    ends = [one.start(1) for one in found[1:]] + [len(text)]
    return tuple(
        (one[1][:MAX_NAME], text[one.end() : min(end, one.end() + _MAX_REASON)].removesuffix("; "))
        for one, end in zip(found, ends, strict=True)
    )
