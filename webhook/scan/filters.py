"""Filters the findings of a report by rule and action. Outcomes, changes and exemptions stay as they are."""

from typing import TypeVar

from msgspec.structs import replace

from webhook.scan.counts import RuleCount
from webhook.scan.evaluation_result import EvaluationResult, PodEvaluation, PodGroup, ReportedFinding
from webhook.scan.options import ScanFilters
from webhook.scan.report import CsiDriver, LegacySecret, ScannedWorkload, ServiceAccountResult, UnevaluatedPod

_Evaluated = TypeVar("_Evaluated", ServiceAccountResult, CsiDriver, LegacySecret)


class FindingFilter:
    """Removes the findings of other rules and actions, and the exemptions of other rules."""

    def __init__(self, filters: ScanFilters) -> None:
        self._filters = filters
        self._shows_all = filters.show_all_findings

    def shows(self, finding: ReportedFinding | RuleCount) -> bool:
        """Return whether a finding is shown."""
        rules, actions = self._filters.rules, self._filters.actions
        return (not rules or finding.rule in rules) and (not actions or finding.action in actions)

    def workload(self, workload: ScannedWorkload) -> ScannedWorkload:
        """Return the workload with the shown findings."""
        if self._shows_all:
            return workload
        pods = tuple(map(self._group, workload.pods))
        return replace(workload, pods=pods, next_pod=workload.next_pod and self._group(workload.next_pod))

    def evaluated(self, item: _Evaluated) -> _Evaluated:
        """Return an account, a driver or a Secret with the shown findings."""
        if self._shows_all:
            return item
        simulated = item.simulated and self._result(item.simulated)
        return replace(item, result=item.result and self._result(item.result), simulated=simulated)

    def unevaluated(self, pod: UnevaluatedPod) -> UnevaluatedPod | None:
        """Return the pod with the shown findings, None without any."""
        findings = tuple(filter(self.shows, pod.findings))
        return replace(pod, findings=findings) if findings else None

    def _group(self, group: PodGroup) -> PodGroup:
        simulated = group.simulated and self._evaluation(group.simulated)
        return replace(group, evaluation=self._evaluation(group.evaluation), simulated=simulated)

    def _evaluation(self, evaluation: PodEvaluation) -> PodEvaluation:
        return replace(evaluation, result=self._result(evaluation.result))

    def _result(self, result: EvaluationResult) -> EvaluationResult:
        rules = self._filters.rules
        return replace(
            result,
            findings=tuple(filter(self.shows, result.findings)),
            exemptions=tuple(exempted for exempted in result.exemptions if not rules or exempted.rule in rules),
        )
