"""Whether the exemptions of a policy are needed, as far as a scan can see."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from webhook.core.formatting import FastStrEnum
from webhook.core.kinds import Subject
from webhook.core.policy.exemptions import Exemption
from webhook.core.rules import BY_NAME, RULES
from webhook.core.selectors import Globs
from webhook.scan.counts import ExemptCounts
from webhook.scan.evaluation_result import AppliedExemption, EvaluationResult

EXPIRES_SOON_DAYS = 30
_SCANNED = frozenset({Subject.POD, Subject.SECRET, Subject.SERVICE_ACCOUNT})


class ExemptionStatus(FastStrEnum):
    """Whether an exemption is needed."""

    IN_USE = "in use"
    SHADOWED = "shadowed"
    UNUSED = "unused"
    NOT_SCANNED = "not scanned"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class ExemptionUsage(Struct, frozen=True, gc=False, rename="camel"):
    """An exemption of a policy, and whether anything needs it."""

    rules: Annotated[tuple[str, ...], Meta(description="The exempt rules.")]
    namespaces: Annotated[tuple[str, ...], Meta(description="The selected namespaces.")]
    service_accounts: Annotated[tuple[str, ...], Meta(description="The selected ServiceAccounts.")]
    users: Annotated[tuple[str, ...], Meta(description="The selected users.")]
    reason: Annotated[str, Meta(description="The reason.")]
    until: Annotated[dt.date | None, Meta(description="The last day; null: it never expires.")]
    days_left: Annotated[int | None, Meta(description="Days until the last day, 0 on it; null: it never expires.")]
    expires_soon: Annotated[bool, Meta(description="Whether it expires within 30 days.")]
    status: Annotated[
        ExemptionStatus,
        Meta(
            description="`shadowed`: earlier exemptions match everything that this one would. `not scanned`: unused,"
            " but it selects namespaces outside of the scan. `unknown`: it depends on the user of a request, or on"
            " something that could not be read."
        ),
    ]
    covers: Annotated[ExemptCounts, Meta(description="What it exempts, or would if it had not expired.")]
    shadowed_by: Annotated[tuple[int, ...], Meta(description="Numbers of the earlier exemptions, from zero.")]
    partly_scanned: Annotated[bool, Meta(description="Whether something that it selects was not scanned.")]
    unread: Annotated[bool, Meta(description="Whether something in the scanned namespaces could not be read for it.")]


class CountedResult(NamedTuple):
    """A result of an object of a namespace and an account; that of a workload is for so many of its `pods`.

    A workload has a result for each group of pods that are alike, and one for its template. `objects` is how many
    objects count as violating a rule: pods, a template if there are no pods, or the object.
    """

    subject: Subject
    namespace: str
    name: str
    account: str
    result: EvaluationResult
    pods: int = 0
    objects: int = 1


def exempt_counts(results: Sequence[CountedResult]) -> ExemptCounts:
    """Return how many objects have these results; a workload counts once."""
    objects = {(counted.subject, counted.namespace, counted.name) for counted in results}
    by_subject = Counter(subject for subject, _, _ in objects)
    return ExemptCounts(
        workloads=by_subject[Subject.POD],
        pods=sum(counted.pods for counted in results),
        secrets=by_subject[Subject.SECRET],
        service_accounts=by_subject[Subject.SERVICE_ACCOUNT],
        csi_drivers=by_subject[Subject.CSI_DRIVER],
    )


class ScanCoverage(NamedTuple):
    """What was scanned: the selected `namespaces` (none: all), and whether everything in them could be read.

    `known` are the cluster's namespaces, empty if not all could be read.
    """

    known: Collection[str]
    namespaces: Globs
    complete: bool

    def includes(self, exemption: Exemption) -> bool:
        """Return whether all namespaces that an exemption selects were scanned."""
        if not self.namespaces:
            return True
        names = exemption.namespaces
        if not self.known:
            return bool(names) and not names.wild and all(map(self.namespaces.match, names.exact))
        return all(map(self.namespaces.match, {*_selected_namespaces(exemption, self.known), *names.exact}))

    def lacks(self, exemption: Exemption) -> bool:
        """Return whether something could not be read that an exemption may select in the scanned namespaces."""
        if self.complete:
            return False
        if self.known:
            selected: Collection[str] = _selected_namespaces(exemption, self.known)
        elif exemption.namespaces.wild or not (exemption.namespaces and self.namespaces):
            return True
        else:
            selected = exemption.namespaces.exact
        return any(not self.namespaces or self.namespaces.match(namespace) for namespace in selected)


class ExemptionUsageCounter:
    """Counts what the exemptions of one policy match."""

    def __init__(self, exemptions: Sequence[Exemption], now: dt.datetime, coverage: ScanCoverage) -> None:
        """Start with no matches at the time `now` (aware)."""
        self._exemptions = exemptions
        self._today = now.astimezone(dt.UTC).date()
        self._coverage = coverage
        self._expired = [number for number, exemption in enumerate(exemptions) if not exemption.is_active(now)]
        self._active = [number for number, exemption in enumerate(exemptions) if exemption.is_active(now)]
        self._covered: dict[int, list[CountedResult]] = {}
        self._shadowed_by: dict[int, set[int]] = {}
        self._later: dict[tuple[str, str, str | None, str, int], tuple[int, ...]] = {}

    def count(self, results: Iterable[CountedResult]) -> tuple[ExemptionUsage, ...]:
        """Return the usage of each exemption, in their order."""
        for counted in results:
            applied = {exempted.exemption for exempted in counted.result.exemptions}
            would_apply = (number for number in self._expired if _would_match(self._exemptions[number], counted))
            for number in (*applied, *would_apply):
                self._covered.setdefault(number, []).append(counted)
            for exempted in counted.result.exemptions:
                for later in self._later_matches(counted, exempted):
                    if later not in applied:
                        self._shadowed_by.setdefault(later, set()).add(exempted.exemption)
        return tuple(map(self._usage, range(len(self._exemptions))))

    def _later_matches(self, counted: CountedResult, exempted: AppliedExemption) -> tuple[int, ...]:
        """Return the later exemptions that also match what this one does."""
        namespace, account, other = counted.namespace, counted.account, exempted.other_account
        key = (namespace, account, other, exempted.rule, exempted.exemption)
        if key not in self._later:
            self._later[key] = tuple(
                later
                for later in self._active
                if later > exempted.exemption
                and exempted.rule in self._exemptions[later].rules
                and self._exemptions[later].applies_to(namespace, account, "", other)
            )
        return self._later[key]

    def _usage(self, number: int) -> ExemptionUsage:
        exemption = self._exemptions[number]
        days_left = (exemption.until - self._today).days if exemption.until else None
        unread, includes = self._coverage.lacks(exemption), self._coverage.includes(exemption)
        covered, shadowed_by = self._covered.get(number, []), self._shadowed_by.get(number, ())
        if days_left is not None and days_left < 0:
            status = ExemptionStatus.EXPIRED
        elif covered:
            status = ExemptionStatus.IN_USE
        elif shadowed_by:
            status = ExemptionStatus.SHADOWED
        elif unread or not _is_visible(exemption):
            status = ExemptionStatus.UNKNOWN
        else:
            status = ExemptionStatus.UNUSED if includes else ExemptionStatus.NOT_SCANNED
        return ExemptionUsage(
            rules=("*",) if exemption.rules == tuple(BY_NAME) else exemption.rules,
            namespaces=exemption.namespaces.patterns,
            service_accounts=exemption.service_accounts.patterns,
            users=exemption.users.patterns,
            reason=exemption.reason,
            until=exemption.until,
            days_left=days_left,
            expires_soon=days_left is not None and 0 <= days_left < EXPIRES_SOON_DAYS,
            status=status,
            covers=exempt_counts(covered),
            shadowed_by=tuple(sorted(shadowed_by)) if status is ExemptionStatus.SHADOWED else (),
            partly_scanned=unread or not includes,
            unread=unread and _is_visible(exemption),
        )


def _selected_namespaces(exemption: Exemption, namespaces: Iterable[str]) -> list[str]:
    accounts = exemption.service_accounts.patterns
    within = Globs(tuple(account.partition("/")[0] if "/" in account else "*" for account in accounts))
    return [
        namespace
        for namespace in namespaces
        if exemption.applies_to_namespace(namespace) and (not within or within.match(namespace))
    ]


def _would_match(exemption: Exemption, counted: CountedResult) -> bool:
    return any(
        rule in exemption.rules and exemption.applies_to(counted.namespace, counted.account, "", other)
        for rule, other in {(finding.rule, finding.other_account) for finding in counted.result.findings}
    )


def _is_visible(exemption: Exemption) -> bool:
    """Return whether a scan sees what an exemption selects: users' requests are not visible."""
    return not exemption.users and any(rule.name in exemption.rules and rule.subjects & _SCANNED for rule in RULES)
