"""What is told under filters: the findings that were asked for. What comes of all of them stays as it is."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from webhook.scan.evaluation_result import EvaluationResult, PodEvaluation, PodGroup, ReportedFinding
from webhook.scan.options import ScanFilters
from webhook.scan.report import Account, CsiDriver, LegacySecret, Owner, RuleCount

_Judged = TypeVar("_Judged", Account, CsiDriver, LegacySecret)


class FindingFilter:
    """Leaves out the findings of other rules and actions, and the exemptions from other rules."""

    def __init__(self, filters: ScanFilters) -> None:
        """Take what is asked for."""
        self._filters = filters
        self._needless = filters.includes_all_findings

    def owners(self, owners: tuple[Owner, ...]) -> tuple[Owner, ...]:
        """Return all owners."""
        return owners if self._needless else tuple(map(self._owner, owners))

    def secrets(self, secrets: tuple[LegacySecret, ...]) -> tuple[LegacySecret, ...]:
        """Return all legacy Secrets."""
        return secrets if self._needless else tuple(self._both(one) for one in secrets)

    def accounts(self, accounts: Iterable[Account]) -> Iterator[Account]:
        """Yield the accounts of which there is still something to tell."""
        for account in accounts:
            found = account if self._needless else self._both(account)
            if found.has_results:
                yield found

    def csi_drivers(self, drivers: Iterable[CsiDriver]) -> Iterator[CsiDriver]:
        """Yield the CSI drivers that still have findings or exemptions."""
        for driver in drivers:
            found = driver if self._needless else self._both(driver)
            if found.has_results:
                yield found

    def counts(self, counts: tuple[RuleCount, ...]) -> tuple[RuleCount, ...]:
        """Return the counts of what is asked for."""
        return counts if self._needless else tuple(one for one in counts if self._wants(one))

    def _wants(self, told: ReportedFinding | RuleCount) -> bool:
        wanted = self._filters
        return (not wanted.rules or told.rule in wanted.rules) and (not wanted.actions or told.action in wanted.actions)

    def _owner(self, owner: Owner) -> Owner:
        pods = tuple(map(self._group, owner.pods))
        return replace(owner, pods=pods, next_pod=owner.next_pod and self._group(owner.next_pod))

    def _group(self, group: PodGroup) -> PodGroup:
        simulated = group.simulated and self._verdict(group.simulated)
        return replace(group, verdict=self._verdict(group.verdict), simulated=simulated)

    def _verdict(self, verdict: PodEvaluation) -> PodEvaluation:
        return replace(verdict, judgement=self._judgement(verdict.judgement))

    def _both(self, judged: _Judged) -> _Judged:
        simulated = judged.simulated and self._judgement(judged.simulated)
        return replace(judged, judgement=self._judgement(judged.judgement), simulated=simulated)

    def _judgement(self, judgement: EvaluationResult) -> EvaluationResult:
        rules = self._filters.rules
        return replace(
            judgement,
            findings=tuple(one for one in judgement.findings if self._wants(one)),
            exemptions=tuple(one for one in judgement.exemptions if not rules or one.rule in rules),
        )
