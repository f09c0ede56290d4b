"""What a policy would deny if it enforced its rules in all namespaces, and which Secrets it denies."""

from collections.abc import Callable, Iterator, Sequence

from webhook.core.decision import Outcome
from webhook.core.formatting import counted, plain
from webhook.scan.evaluation_result import EvaluationResult
from webhook.scan.report import ScanReport

_Object = tuple[str, str, Sequence[EvaluationResult]]
"""`workload` or `legacy Secret`, its namespace and its results."""


def limits(report: ScanReport, *, simulated: bool) -> Iterator[str]:
    """Yield what modes, and overrides that lower rules, let pass."""
    policy = report.simulated if simulated else report.policy
    if policy is None or not policy.revision:
        return
    objects = [*_objects(report, simulated=simulated)]
    if limited := [each for each in objects if any(result.enforced for result in each[2])]:
        namespaces = {namespace for _, namespace, _ in limited}
        verb = "is" if len(namespaces) == 1 else "are"
        denied = _listed(limited, lambda result: result.outcome_enforced) or "nothing"
        yield (
            f"{counted(len(namespaces), 'namespace')} with workloads or legacy Secrets {verb} not in mode enforce;"
            f" mode enforce would deny {denied} there; for details,"
            f" {f'scan with --policy {plain(policy.origin)}' if simulated else 'use'} --mode enforce"
        )
    lowered = [each for each in objects if any(map(_is_lowered, each[2]))]
    if listed := _listed(lowered, lambda result: result.unlowered or result.outcome_enforced):
        count = len({namespace for _, namespace, _ in lowered})
        where = counted(count, "namespace")
        yield f"overrides make rules less strict in {where}; without them, mode enforce would deny {listed}"


def is_weakened(report: ScanReport) -> bool:
    """Return whether legacy Secrets in use would be denied, or a mode or an override limits rules."""
    return bool(denied_secrets(report) or [*limits(report, simulated=report.simulated is not None)])


def denied_secrets(report: ScanReport) -> int:
    """Return how many legacy Secrets in use would be denied; 0 if that is not known."""
    counts = report.summary.simulated_secrets if report.simulated else report.summary.secrets
    return counts.denied if counts else 0


def _objects(report: ScanReport, *, simulated: bool) -> Iterator[_Object]:
    for workload in report.workloads:
        yield "workload", workload.namespace, [group.result(simulated=simulated) for group in workload.groups]
    for secret in report.legacy_secrets:
        if result := secret.simulated if simulated else secret.result:
            yield "legacy Secret", secret.namespace, [result]


def _is_lowered(result: EvaluationResult) -> bool:
    """Return whether only an override that lowers rules keeps mode enforce from denying it."""
    return result.unlowered is Outcome.DENIED and result.outcome_enforced is not Outcome.DENIED


def _listed(objects: Sequence[_Object], outcome: Callable[[EvaluationResult], Outcome]) -> str:
    """Return how many of the objects are denied by this outcome."""
    denied = [title for title, _, results in objects if any(outcome(result) is Outcome.DENIED for result in results)]
    counts = ((title, denied.count(title)) for title in dict.fromkeys(denied))
    return " and ".join(counted(count, title) for title, count in counts)
