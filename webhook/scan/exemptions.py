"""What the exemptions of a policy are good for, as far as a scan can see."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from webhook.core.policy.exemptions import Exemption
from webhook.core.request import Subject
from webhook.core.rules import BY_NAME, RULES
from webhook.scan.report import ExemptionState, Standing
from webhook.scan.verdicts import Judgement

SOON_DAYS = 30
_SEEN = frozenset({Subject.POD, Subject.SECRET, Subject.SERVICE_ACCOUNT})


class Judged(NamedTuple):
    """What came out alike: where, of which account, how many there are, and how it came out."""

    namespace: str
    account: str
    number: int
    judgement: Judgement


def states(exemptions: Sequence[Exemption], judged: Iterable[Judged], now: dt.datetime) -> tuple[ExemptionState, ...]:
    """Return how each exemption stands, in their order."""
    holds = [0] * len(exemptions)
    ended = [number for number, one in enumerate(exemptions) if not one.holds(now)]
    for one in judged:
        for number in {exempted.exemption for exempted in one.judgement.exemptions}:
            holds[number] += one.number
        for number in ended:
            if _would_hold(exemptions[number], one):
                holds[number] += one.number
    today = now.astimezone(dt.UTC).date()
    return tuple(_state(one, count, today) for one, count in zip(exemptions, holds, strict=True))


def _would_hold(exemption: Exemption, judged: Judged) -> bool:
    rules = {finding.rule for finding in judged.judgement.findings}
    return not rules.isdisjoint(exemption.rules) and exemption.is_for(judged.namespace, judged.account, "")


def _state(one: Exemption, holds: int, today: dt.date) -> ExemptionState:
    left = (one.until - today).days if one.until else None
    if left is not None and left < 0:
        standing = Standing.ENDED
    elif holds:
        standing = Standing.HOLDS
    else:
        standing = Standing.HOLDS_NOTHING if _can_be_seen(one) else Standing.UNKNOWN
    return ExemptionState(
        rules=("*",) if one.rules == tuple(BY_NAME) else one.rules,
        namespaces=one.namespaces.patterns,
        service_accounts=one.service_accounts.patterns,
        users=one.users.patterns,
        reason=one.reason,
        until=one.until,
        days_left=left,
        ends_soon=left is not None and 0 <= left < SOON_DAYS,
        standing=standing,
        holds=holds,
    )


def _can_be_seen(one: Exemption) -> bool:
    """Say whether what it is for is in a cluster to be looked at: nobody's requests are."""
    return not one.users and any(rule.name in one.rules and rule.looks_at & _SEEN for rule in RULES)
