"""What a scan found, counted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import PodGroup
from webhook.scan.exemption_usage import CountedResult
from webhook.scan.rbac import Bindings
from webhook.scan.report import (
    Account,
    AccountWithoutPermissions,
    CsiDriver,
    LegacySecret,
    OutcomeCounts,
    Owner,
    RuleCount,
    ScanSummary,
    TokenUse,
)


def judged(
    owners: Iterable[Owner],
    secrets: Iterable[LegacySecret],
    accounts: Iterable[Account],
    csi_drivers: Iterable[CsiDriver] = (),
) -> tuple[list[CountedResult], list[CountedResult]]:
    """Return what is judged, each once: by the policy, and by the simulated one.

    Of an owner these are its pods, and only where it has none its next one.
    """
    now: list[CountedResult] = []
    simulated: list[CountedResult] = []
    for owner in owners:
        for group, count in counted(owner):
            where = (owner.namespace, group.account, count)
            now.append(CountedResult(*where, group.verdict.judgement))
            if group.simulated:
                simulated.append(CountedResult(*where, group.simulated.judgement))
    single = [(one.namespace, one.account, one.judgement, one.simulated) for one in secrets]
    single += [(one.namespace, one.name, one.judgement, one.simulated) for one in accounts]
    single += [("", "", driver.judgement, driver.simulated) for driver in csi_drivers]
    for namespace, account, judgement, other in single:
        now.append(CountedResult(namespace, account, 1, judgement))
        if other:
            simulated.append(CountedResult(namespace, account, 1, other))
    return now, simulated


def counted(owner: Owner) -> Iterator[tuple[PodGroup, int]]:
    """Yield what of an owner is counted: its pods, or else its next one."""
    if owner.pods:
        yield from ((group, len(group.names)) for group in owner.pods)
    elif owner.next_pod:
        yield owner.next_pod, 1


def summary(
    namespaces: int, finished_pods: int, owners: Sequence[Owner], secrets: Sequence[LegacySecret]
) -> ScanSummary:
    """Return the counts of pods, owners and Secrets by what would come of them."""
    groups = [group for owner in owners for group in owner.pods]
    under = [(group.simulated, len(group.names)) for group in groups if group.simulated]
    by_owner = [found for owner in owners if (found := owner.simulated_outcome)]
    by_secret = [one.simulated.outcome for one in secrets if one.simulated]
    simulates = bool(under or by_owner or by_secret)
    return ScanSummary(
        namespaces,
        finished_pods,
        pods=_counts((group.verdict.judgement.outcome, len(group.names)) for group in groups),
        owners=_counts((owner.outcome, 1) for owner in owners),
        secrets=_counts((one.judgement.outcome, 1) for one in secrets),
        simulated_pods=_counts((one.judgement.outcome, count) for one, count in under) if simulates else None,
        simulated_owners=_counts((one, 1) for one in by_owner) if simulates else None,
        simulated_secrets=_counts((one, 1) for one in by_secret) if simulates else None,
    )


def _counts(outcomes: Iterable[tuple[Outcome, int]]) -> OutcomeCounts:
    counted: Counter[str] = Counter()
    for outcome, count in outcomes:
        counted[outcome.value] += count
    return OutcomeCounts(**counted)


def rule_counts(now: Iterable[CountedResult], simulated: Iterable[CountedResult] | None) -> tuple[RuleCount, ...]:
    """Return how many things break which rule in which namespace, and what is done about it."""
    before, after = _by_rule(now), _by_rule(simulated or ())
    return tuple(
        RuleCount(*key, before[key], after[key] if simulated is not None else None)
        for key in sorted({*before, *after})
    )  # fmt: skip


def _by_rule(judged: Iterable[CountedResult]) -> Counter[tuple[str, str, Action]]:
    counted: Counter[tuple[str, str, Action]] = Counter()
    for one in judged:
        for rule, action in {(finding.rule, finding.action) for finding in one.judgement.findings}:
            counted[one.namespace, rule, action] += one.number
    return counted


_Use = tuple[str, int | None]


def token_uses(owners: Sequence[Owner]) -> tuple[TokenUse, ...]:
    """Return the tokens of all pods by audience and lifetime: now, and had they been created again."""
    now: Counter[_Use] = Counter()
    after: Counter[_Use] = Counter()
    simulated: Counter[_Use] = Counter()
    simulates = False
    for group in (group for owner in owners for group in owner.pods):
        count = len(group.names)
        for token in group.tokens:
            now[token.audience, token.lifetime_seconds] += count
        for token in group.verdict.tokens:
            after[token.audience, token.lifetime_seconds] += count
        simulates = simulates or group.simulated is not None
        for token in group.simulated.tokens if group.simulated else ():
            simulated[token.audience, token.lifetime_seconds] += count
    return tuple(
        TokenUse(*use, now[use], after[use], simulated[use] if simulates else None)
        for use in sorted({*now, *after, *simulated}, key=lambda use: (use[0], use[1] is None, use[1] or 0))
    )


def accounts_without_permissions(owners: Iterable[Owner], bindings: Bindings) -> tuple[AccountWithoutPermissions, ...]:
    """Return the accounts whose API token is mounted by itself in pods, though no binding gives them any right."""
    pods: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[str]] = {}
    for owner in owners:
        for group in owner.pods:
            key = (owner.namespace, group.account)
            if any(token.own for token in group.tokens) and not bindings.grant_permissions_to(*key):
                pods[key] += len(group.names)
                where.setdefault(key, set()).add(owner.title)
    return tuple(AccountWithoutPermissions(*key, pods[key], tuple(sorted(where[key]))) for key in sorted(pods))
