"""How the exemptions of a policy stand, as values; a part of the report (`webhook.scan.report`)."""

import datetime as dt
from dataclasses import dataclass

from webhook.core.text import Word


class Standing(Word):
    """What an exemption is good for."""

    HOLDS = "holds"
    SHADOWED = "shadowed"
    HOLDS_NOTHING = "holds nothing"
    NOT_LOOKED_AT = "not looked at"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ExemptionState:
    """An exemption of the policy, and what it is good for.

    `holds` counts the pods, next pods of owners without any, Secrets and ServiceAccounts that it keeps from something;
    where it has ended, those that it would. `shadowed` is one that holds nothing because those before it, whose numbers
    are `shadowed_by` (from zero), hold it all: once they end it does. `unknown` is one that depends on who asks, or is
    for requests for tokens: no scan can see whether it holds anything. `seen_in_part` says that not all that it is for
    was looked at, in other namespaces or for want of rights; where such a one holds nothing, it is `not looked at`.
    `days_left` is None for one that never ends, and 0 on its last day.
    """

    rules: tuple[str, ...]
    namespaces: tuple[str, ...]
    service_accounts: tuple[str, ...]
    users: tuple[str, ...]
    reason: str
    until: dt.date | None
    days_left: int | None
    ends_soon: bool
    standing: Standing
    holds: int
    shadowed_by: tuple[int, ...]
    seen_in_part: bool
