"""What one log line contributes to a summary: a decision, or the use of a long-lived token."""

import datetime as dt
import re
from collections.abc import Iterable
from enum import IntEnum

import msgspec

MAX_NAME = 320
"""Longer than any `namespace/account`; longer names are cut, so that no log fills the memory with names."""
_MAX_REASON = 1000
_EXEMPTION_START = re.compile(r"(?:^|\(until [^()]*\); )([a-z][a-z-]*): ")


class AuditOutcome(IntEnum):
    """The effect on a request, strongest first. `AUDITED` and `EXEMPTED` were allowed unchanged."""

    DENIED = 0
    PATCHED = 1
    WARNED = 2
    AUDITED = 3
    EXEMPTED = 4
    ALLOWED = 5

    @classmethod
    def of_decision(cls, decision: str | None, *, has_findings: bool) -> "AuditOutcome":
        """Return the outcome of a logged decision; an allowed request with findings is `AUDITED`."""
        outcome = _OUTCOMES.get(decision or "", cls.ALLOWED)
        return cls.AUDITED if outcome is cls.ALLOWED and has_findings else outcome


_OUTCOMES = {outcome.name.lower(): outcome for outcome in AuditOutcome}
COUNTED_OUTCOMES = tuple(outcome for outcome in AuditOutcome if outcome is not AuditOutcome.ALLOWED)


class DecisionEvent(msgspec.Struct, gc=False):
    """The decision about a request.

    `account` is `namespace/name`, empty if unknown. `rules` are the violated rules with the outcome of each,
    `exemptions` the rules that an exemption applied to, with its reason. The records of the mutating and the validating
    webhook about one pod have the same `key` and a name in common; `key` is empty if no counterpart is expected.
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
        """Return the outcome of both webhooks: the stronger one, and all rules."""
        return msgspec.structs.replace(
            self,
            outcome=min(self.outcome, other.outcome),
            rules=strongest_of_each_rule(self.rules + other.rules),
            exemptions=tuple(dict.fromkeys(self.exemptions + other.exemptions)),
            key=(),
        )


def strongest_of_each_rule(rules: Iterable[tuple[str, AuditOutcome]]) -> tuple[tuple[str, AuditOutcome], ...]:
    """Return each rule once, with its strongest outcome."""
    strongest: dict[str, AuditOutcome] = {}
    for name, outcome in rules:
        rule = name[:MAX_NAME]
        strongest[rule] = min(outcome, strongest.get(rule, outcome))
    return tuple(strongest.items())


class TokenUseEvent(msgspec.Struct, gc=False):
    """A request with a legacy token or, if not `legacy`, a stale one: `seconds_stale` past its requested lifetime.

    `user` is the API server's user name, `details` are further annotations; `pod` and `client` (the user agent) sent
    the request and are empty if unknown.
    """

    time: dt.datetime
    user: str
    legacy: bool
    seconds_stale: int = 0
    details: tuple[str, ...] = ()
    pod: str = ""
    client: str = ""


def parse_exemptions(text: str) -> tuple[tuple[str, str], ...]:
    """Return rules and reasons from `rule: reason (until day); rule: reason (until day)`."""
    if not text:
        return ()
    starts = list(_EXEMPTION_START.finditer(text))
    ends = [start.start(1) for start in starts[1:]] + [len(text)]
    return tuple(
        (start[1][:MAX_NAME], text[start.end() : min(end, start.end() + _MAX_REASON)].removesuffix("; "))
        for start, end in zip(starts, ends, strict=True)
    )
