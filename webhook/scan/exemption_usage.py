"""What the exemptions of a policy are good for, as far as a scan can see."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from webhook.core.kinds import Subject
from webhook.core.policy.exemptions import Exemption
from webhook.core.rules import BY_NAME, RULES
from webhook.core.selectors import Globs
from webhook.core.text import Word
from webhook.scan.evaluation_result import AppliedExemption, EvaluationResult

EXPIRES_SOON_DAYS = 30
_SEEN = frozenset({Subject.POD, Subject.SECRET, Subject.SERVICE_ACCOUNT})


class ExemptionStatus(Word):
    """What an exemption is good for."""

    HOLDS = "holds"
    SHADOWED = "shadowed"
    HOLDS_NOTHING = "holds nothing"
    NOT_LOOKED_AT = "not looked at"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ExemptionUsage:
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
    standing: ExemptionStatus
    holds: int
    shadowed_by: tuple[int, ...]
    seen_in_part: bool


class CountedResult(NamedTuple):
    """What came out alike: where, of which account, how many there are, and how it came out."""

    namespace: str
    account: str
    number: int
    judgement: EvaluationResult


class ScanCoverage(NamedTuple):
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


class ExemptionUsageCounter:
    """The exemptions of one policy, and what of all that was judged is theirs."""

    def __init__(self, exemptions: Sequence[Exemption], now: dt.datetime, sight: ScanCoverage) -> None:
        """Take them in their order, the time (aware, any zone), and what was looked at."""
        self._exemptions = exemptions
        self._today = now.astimezone(dt.UTC).date()
        self._sight = sight
        self._ended = [number for number, one in enumerate(exemptions) if not one.holds(now)]
        self._holding = [number for number, one in enumerate(exemptions) if one.holds(now)]
        self._holds: Counter[int] = Counter()
        self._shadowed: dict[int, Counter[int]] = {}
        self._behind: dict[tuple[str, str, AppliedExemption], tuple[int, ...]] = {}

    def of(self, judged: Iterable[CountedResult]) -> tuple[ExemptionUsage, ...]:
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

    def _later(self, namespace: str, account: str, exempted: AppliedExemption) -> tuple[int, ...]:
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

    def _state(self, number: int) -> ExemptionUsage:
        one, holds, shadowed = self._exemptions[number], self._holds[number], self._shadowed.get(number)
        left = (one.until - self._today).days if one.until else None
        in_part = not self._sight.covers(one)
        if left is not None and left < 0:
            standing = ExemptionStatus.ENDED
        elif holds:
            standing = ExemptionStatus.HOLDS
        elif shadowed:
            standing = ExemptionStatus.SHADOWED
        elif not _can_be_seen(one):
            standing = ExemptionStatus.UNKNOWN
        else:
            standing = ExemptionStatus.NOT_LOOKED_AT if in_part else ExemptionStatus.HOLDS_NOTHING
        return ExemptionUsage(
            rules=("*",) if one.rules == tuple(BY_NAME) else one.rules,
            namespaces=one.namespaces.patterns,
            service_accounts=one.service_accounts.patterns,
            users=one.users.patterns,
            reason=one.reason,
            until=one.until,
            days_left=left,
            ends_soon=left is not None and 0 <= left < EXPIRES_SOON_DAYS,
            standing=standing,
            holds=holds,
            shadowed_by=tuple(sorted(shadowed)) if shadowed and standing is ExemptionStatus.SHADOWED else (),
            seen_in_part=in_part,
        )


def _reached(exemption: Exemption, namespaces: Iterable[str]) -> list[str]:
    """Return the namespaces in which an exemption may be for something."""
    accounts = exemption.service_accounts.patterns
    within = Globs(tuple(one.partition("/")[0] if "/" in one else "*" for one in accounts))
    return [one for one in namespaces if exemption.is_for_namespace(one) and (not within or within.match(one))]


def _would_hold(exemption: Exemption, judged: CountedResult) -> bool:
    return any(
        rule in exemption.rules and exemption.is_for(judged.namespace, judged.account, "", other)
        for rule, other in {(finding.rule, finding.other_account) for finding in judged.judgement.findings}
    )


def _can_be_seen(one: Exemption) -> bool:
    """Say whether what it is for is in a cluster to be looked at: nobody's requests are."""
    return not one.users and any(rule.name in one.rules and rule.looks_at & _SEEN for rule in RULES)
