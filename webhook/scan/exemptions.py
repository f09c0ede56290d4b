"""What the exemptions of a policy are good for, as far as a scan can see."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from webhook.core.kinds import Subject
from webhook.core.policy.exemptions import Exemption
from webhook.core.rules import BY_NAME, RULES
from webhook.core.selectors import Globs
from webhook.scan.standings import ExemptionState, Standing
from webhook.scan.verdicts import Exempted, Judgement

SOON_DAYS = 30
_SEEN = frozenset({Subject.POD, Subject.SECRET, Subject.SERVICE_ACCOUNT})


class Judged(NamedTuple):
    """What came out alike: where, of which account, how many there are, and how it came out."""

    namespace: str
    account: str
    number: int
    judgement: Judgement


class Sight(NamedTuple):
    """What was looked at: of the known namespaces some alone (none: all), and whether all there could be read.

    `known` is empty where not all namespaces could be read.
    """

    known: Collection[str]
    namespaces: Globs
    complete: bool

    def covers(self, exemption: Exemption) -> bool:
        """Say whether all that is there, and that an exemption is for, was looked at."""
        if self.complete and not self.namespaces:
            return True
        if not self.known:
            names = exemption.namespaces
            return self.complete and bool(names) and not names.wild and all(map(self.namespaces.match, names.exact))
        reached = _reached(exemption, self.known)
        wanted = not self.namespaces or all(map(self.namespaces.match, {*reached, *exemption.namespaces.exact}))
        return wanted and (self.complete or not reached)


class States:
    """The exemptions of one policy, and what of all that was judged is theirs."""

    def __init__(self, exemptions: Sequence[Exemption], now: dt.datetime, sight: Sight) -> None:
        """Take them in their order, the time (aware, any zone), and what was looked at."""
        self._exemptions = exemptions
        self._today = now.astimezone(dt.UTC).date()
        self._sight = sight
        self._ended = [number for number, one in enumerate(exemptions) if not one.holds(now)]
        self._holding = [number for number, one in enumerate(exemptions) if one.holds(now)]
        self._holds: Counter[int] = Counter()
        self._shadowed: dict[int, Counter[int]] = {}
        self._behind: dict[tuple[str, str, Exempted], tuple[int, ...]] = {}

    def of(self, judged: Iterable[Judged]) -> tuple[ExemptionState, ...]:
        """Return how each stands, in their order."""
        for one in judged:
            held = {exempted.exemption for exempted in one.judgement.exemptions}
            would_hold = (number for number in self._ended if _would_hold(self._exemptions[number], one))
            for number in (*held, *would_hold):
                self._holds[number] += one.number
            behind = {
                (later, exempted.exemption)
                for exempted in one.judgement.exemptions
                for later in self._later(one.namespace, one.account, exempted)
                if later not in held
            }
            for later, earlier in behind:
                self._shadowed.setdefault(later, Counter())[earlier] += one.number
        return tuple(map(self._state, range(len(self._exemptions))))

    def _later(self, namespace: str, account: str, exempted: Exempted) -> tuple[int, ...]:
        """Return those behind an exemption that would hold what it holds, or a part of it."""
        key = (namespace, account, exempted)
        if key not in self._behind:
            self._behind[key] = tuple(
                later
                for later in self._holding
                if later > exempted.exemption
                and exempted.rule in self._exemptions[later].rules
                and any(self._exemptions[later].is_for(namespace, account, "", other) for other in exempted.accounts)
            )
        return self._behind[key]

    def _state(self, number: int) -> ExemptionState:
        one, holds, shadowed = self._exemptions[number], self._holds[number], self._shadowed.get(number)
        left = (one.until - self._today).days if one.until else None
        in_part = not self._sight.covers(one)
        if left is not None and left < 0:
            standing = Standing.ENDED
        elif holds:
            standing = Standing.HOLDS
        elif shadowed:
            standing = Standing.SHADOWED
        elif not _can_be_seen(one):
            standing = Standing.UNKNOWN
        else:
            standing = Standing.NOT_LOOKED_AT if in_part else Standing.HOLDS_NOTHING
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
            shadowed_by=tuple(sorted(shadowed)) if shadowed and standing is Standing.SHADOWED else (),
            seen_in_part=in_part,
        )


def _reached(exemption: Exemption, namespaces: Iterable[str]) -> list[str]:
    """Return the namespaces in which an exemption may be for something."""
    accounts = exemption.service_accounts.patterns
    within = Globs(tuple(one.partition("/")[0] if "/" in one else "*" for one in accounts))
    return [one for one in namespaces if exemption.is_for_namespace(one) and (not within or within.match(one))]


def _would_hold(exemption: Exemption, judged: Judged) -> bool:
    return any(
        rule in exemption.rules and exemption.is_for(judged.namespace, judged.account, "", other)
        for rule, other in {(finding.rule, finding.other_account) for finding in judged.judgement.findings}
    )


def _can_be_seen(one: Exemption) -> bool:
    """Say whether what it is for is in a cluster to be looked at: nobody's requests are."""
    return not one.users and any(rule.name in one.rules and rule.looks_at & _SEEN for rule in RULES)
