"""Counts the results of a scan."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from msgspec.structs import replace

from webhook.core.decision import Outcome
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action
from webhook.scan.counts import ExemptCounts, OutcomeCounts, RuleCount, ScanSummary
from webhook.scan.evaluation_result import EvaluationResult
from webhook.scan.exemption_usage import CountedResult, exempt_counts
from webhook.scan.rbac import Grant
from webhook.scan.report import (
    AccountWithTokens,
    CsiDriver,
    LegacySecret,
    ScannedWorkload,
    ServiceAccountResult,
    TokenUse,
)

GrantsOf = Callable[[str, str], tuple[Grant, ...] | None]
"""Returns what the ServiceAccount with this namespace and name may do, None if that is not known."""


def counted_results(
    workloads: Iterable[ScannedWorkload],
    secrets: Iterable[LegacySecret],
    accounts: Iterable[ServiceAccountResult],
    csi_drivers: Iterable[CsiDriver],
) -> tuple[list[CountedResult], list[CountedResult]]:
    """Return the results by the policy and by the simulated policy; of a legacy Secret only if it is in use."""
    results = chain(
        chain.from_iterable(map(_workload_results, workloads)),
        (
            (
                CountedResult(Subject.SECRET, secret.namespace, secret.name, secret.account, secret.result),
                secret.simulated,
            )
            for secret in secrets
            if secret.result
        ),
        (
            (
                CountedResult(Subject.SERVICE_ACCOUNT, account.namespace, account.name, account.name, account.result),
                account.simulated,
            )
            for account in accounts
        ),
        (
            (CountedResult(Subject.CSI_DRIVER, "", driver.name, "", driver.result), driver.simulated)
            for driver in csi_drivers
        ),
    )
    now: list[CountedResult] = []
    after: list[CountedResult] = []
    for counted, simulated in results:
        now.append(counted)
        if simulated:
            after.append(counted._replace(result=simulated))
    return now, after


def _workload_results(workload: ScannedWorkload) -> Iterator[tuple[CountedResult, EvaluationResult | None]]:
    for group in workload.groups:
        pods = len(group.names)
        counted = CountedResult(
            Subject.POD, workload.namespace, workload.title, group.account, group.evaluation.result, pods,
            objects=pods if workload.pods else 1,
        )  # fmt: skip
        yield counted, group.simulated_result


def summarize(
    namespaces: int,
    finished_pods: int,
    workloads: Sequence[ScannedWorkload],
    secrets: Sequence[LegacySecret] | None,
    *,
    results: tuple[Iterable[CountedResult], Iterable[CountedResult] | None],
) -> ScanSummary:
    """Return the numbers of pods, workloads and Secrets in use by outcome; `secrets` is None if they were not read.

    `results` are those by the policy, and by the simulated policy if there is one.
    """
    now, after = results
    simulates = after is not None
    groups = [group for workload in workloads for group in workload.pods]
    pods = ((result.outcome, len(group.names)) for group in groups if (result := group.simulated_result))
    outcomes = ((workload.simulated_outcome, 1) for workload in workloads if workload.simulated_outcome)
    simulated = ((secret.simulated.outcome, 1) for secret in secrets or () if secret.simulated)
    return ScanSummary(
        namespaces,
        finished_pods,
        pods=_counts((group.evaluation.result.outcome, len(group.names)) for group in groups),
        workloads=_counts((workload.outcome, 1) for workload in workloads),
        secrets=None if secrets is None else _counts((secret.result.outcome, 1) for secret in secrets if secret.result),
        simulated_pods=_counts(pods) if simulates else None,
        simulated_workloads=_counts(outcomes) if simulates else None,
        simulated_secrets=_counts(simulated) if simulates and secrets is not None else None,
        exempt=_exempt(now, secrets_read=secrets is not None),
        simulated_exempt=None if after is None else _exempt(after, secrets_read=secrets is not None),
    )


def _exempt(results: Iterable[CountedResult], *, secrets_read: bool) -> ExemptCounts:
    """Return how many objects the exemptions of a policy cover."""
    counts = exempt_counts([counted for counted in results if counted.result.exemptions])
    return counts if secrets_read else replace(counts, secrets=None)


def _counts(outcomes: Iterable[tuple[Outcome, int]]) -> OutcomeCounts:
    counts: Counter[str] = Counter()
    for outcome, count in outcomes:
        counts[outcome.value] += count
    return OutcomeCounts(**counts)


def rule_counts(now: Iterable[CountedResult], simulated: Iterable[CountedResult] | None) -> tuple[RuleCount, ...]:
    """Return how many objects of each namespace violate each rule, by action."""
    before, after = _by_rule(now), _by_rule(simulated or ())
    return tuple(
        RuleCount(*key, before[key], after[key] if simulated is not None else None)
        for key in sorted({*before, *after})
    )  # fmt: skip


def _by_rule(results: Iterable[CountedResult]) -> Counter[tuple[str, str, Action]]:
    counts: Counter[tuple[str, str, Action]] = Counter()
    for counted in results:
        for rule, action in {(finding.rule, finding.action) for finding in counted.result.findings}:
            counts[counted.namespace, rule, action] += counted.objects
    return +counts


_Use = tuple[str, int | None]


def token_uses(workloads: Sequence[ScannedWorkload], *, simulates: bool) -> tuple[TokenUse, ...]:
    """Return the tokens of all pods by audience and lifetime: now, and after the pods are recreated."""
    now: Counter[_Use] = Counter()
    recreated: Counter[_Use] = Counter()
    simulated: Counter[_Use] = Counter()
    for group in (group for workload in workloads for group in workload.pods):
        by_state = (
            (now, group.tokens),
            (recreated, group.evaluation.tokens),
            (simulated, group.simulated.tokens if group.simulated else ()),
        )
        for counts, tokens in by_state:
            for token in tokens:
                counts[token.audience, token.lifetime_seconds] += len(group.names)
    return tuple(
        TokenUse(*use, now[use], recreated[use], simulated[use] if simulates else None)
        for use in sorted({*now, *recreated, *simulated}, key=lambda use: (use[0], use[1] is None, use[1] or 0))
    )


def accounts_with_tokens(
    workloads: Iterable[ScannedWorkload], secrets: Iterable[LegacySecret], grants_of: GrantsOf
) -> tuple[AccountWithTokens, ...]:
    """Return the accounts with tokens for the API server: projected in running pods, or in legacy Secrets."""
    pods: Counter[tuple[str, str]] = Counter()
    automounted: Counter[tuple[str, str]] = Counter()
    authored: Counter[tuple[str, str]] = Counter()
    titles: dict[tuple[str, str], set[str]] = {}
    tokens: dict[tuple[str, str], set[str]] = {}
    for workload in workloads:
        for group in workload.pods:
            key = (workload.namespace, group.account)
            ways = {token.own for token in group.tokens if token.is_projected_for_api_server}
            if ways:
                pods[key] += len(group.names)
                automounted[key] += len(group.names) * (True in ways)
                authored[key] += len(group.names) * (False in ways)
                titles.setdefault(key, set()).add(workload.title)
    for secret in secrets:
        if secret.account:
            tokens.setdefault((secret.namespace, secret.account), set()).add(secret.name)
    return tuple(
        AccountWithTokens(
            *key,
            grants=grants_of(*key),
            pods=pods[key],
            automounted_pods=automounted[key],
            authored_pods=authored[key],
            workloads=tuple(sorted(titles.get(key, ()))),
            legacy_secrets=tuple(sorted(tokens.get(key, ()))),
        )
        for key in sorted({*pods, *tokens})
    )
