"""What a scan tells of owners and their pods, as lines of text."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from webhook.core.decision import Outcome
from webhook.core.text import counted, plain, quote
from webhook.scan.evaluation_result import Change, EvaluationResult, PodGroup, ReportedFinding
from webhook.scan.options import ScanFilters
from webhook.scan.report import Owner
from webhook.tokens.humanize import humanize_seconds

Line = str
CountedResult = Callable[[PodGroup], EvaluationResult]
_OUTCOMES = {
    Outcome.DENIED: "would be rejected",
    Outcome.PATCHED: "would be patched",
    Outcome.WARNED: "would be warned of",
    Outcome.ALLOWED: "would be let pass",
}
_NEXT = "its next pod"
_MOST = 5


def some(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    every = [plain(name) for name in names]
    more = f" and {len(every) - _MOST} more" if len(every) > _MOST else ""
    return ", ".join(every[:_MOST]) + more


def today(group: PodGroup) -> EvaluationResult:
    """Return what the policy says of some pods."""
    return group.verdict.judgement


def simulated(group: PodGroup) -> EvaluationResult:
    """Return what the simulated policy says of some pods."""
    return group.simulated.judgement if group.simulated else group.verdict.judgement


def line_of(told: ReportedFinding) -> Line:
    """Return a finding as a line."""
    return plain(f"{told.action}: {told.rule}: {told.path} {told.detail}")


def owner_lines(owner: Owner) -> Iterator[Line]:
    """Yield what is told of an owner: what its author wrote, and whom exemptions spare; nothing where all is well."""
    if told := (*findings(owner, today), *spared(owner)):
        yield f"{named(owner)}: {_OUTCOMES[owner.outcome]}"
        yield from (f"  {line}" for line in told)


def spared(owner: Owner) -> Iterator[Line]:
    """Yield which exemptions keep rules from an owner's pods."""
    yield from dict.fromkeys(
        f"exempt: {one.rule}: {plain(one.reason)} (until {one.until or 'never'})"
        for group in owner.groups
        for one in today(group).exemptions
    )


def changes(owners: Iterable[Owner], filters: ScanFilters) -> Iterator[Line]:
    """Yield what the simulated policy changes for owners, what weighs most first; those alike are told of together.

    Under filters those are left out of whom nothing that differs is asked for.
    """
    alike: dict[Change, dict[tuple[Line, ...], list[Owner]]] = {change: {} for change in Change}
    for owner in owners:
        if owner.change is not Change.NONE:
            differing = differences(owner, filters)
            if differing or filters.includes_all_findings:
                alike[owner.change].setdefault(differing, []).append(owner)
    for change, by_lines in alike.items():
        for differing, found in by_lines.items():
            was = f" ({_OUTCOMES[found[0].outcome]} today)" if len({one.outcome for one in found}) == 1 else ""
            yield f"{some([named(one) for one in found])}: {change}{was}"
            yield from (f"  {line}" for line in differing)


def differences(owner: Owner, filters: ScanFilters) -> tuple[Line, ...]:
    """Return what only one of the two policies finds in an owner's pods: what its author wrote first, the new first.

    Where they find the same and mend it otherwise, the tokens that only one of them leads to are told.
    """
    found: dict[Line, bool] = {}
    for group in owner.groups:
        differing = dict(_between(today(group), simulated(group)))
        if not differing and filters.includes_all_findings and group.change is not Change.NONE:
            differing = dict.fromkeys(_tokens_between(group), True)
        found |= differing
    return tuple(sorted(found, key=lambda line: (not found[line], line[0])))


def between(before: EvaluationResult, after: EvaluationResult) -> tuple[Line, ...]:
    """Return what only one of two judgements finds, the new first."""
    return tuple(line for line, _ in _between(before, after))


def _between(before: EvaluationResult, after: EvaluationResult) -> Iterator[tuple[Line, bool]]:
    """Yield what only one of two judgements finds, and whether its author wrote it; else its place isn't told."""
    was, now = ({line_of(told): told for told in judged.findings} for judged in (before, after))
    for sign, found, known in (("+", now, was), ("-", was, now)):
        for line, told in found.items():
            if line not in known:
                yield f"{sign} {line if told.authored else _line_without_place(told)}", told.authored


def _tokens_between(group: PodGroup) -> Iterator[Line]:
    after = group.simulated.tokens if group.simulated else ()
    was, now = (
        dict.fromkeys(f"token: {whom_for(one.audience)}: lives {spelled_out(one.lifetime_seconds)}" for one in tokens)
        for tokens in (group.verdict.tokens, after)
    )
    yield from (f"+ {line}" for line in now if line not in was)
    yield from (f"- {line}" for line in was if line not in now)


def whom_for(audience: str) -> str:
    """Return whom a token is for, in words."""
    return quote(audience) if audience else "the API server"


def spelled_out(lifetime_seconds: int | None) -> str:
    """Return how long a token lives, in words."""
    return "without end" if lifetime_seconds is None else humanize_seconds(lifetime_seconds)


def unwritten(owner: Owner, judged: CountedResult) -> Counter[Line]:
    """Return in how many of its pods (or its next one) what is found that its author didn't write."""
    found: Counter[Line] = Counter()
    groups = [(group, len(group.names)) for group in owner.pods]
    for group, count in groups or ([(owner.next_pod, 1)] if owner.next_pod else []):
        for told in judged(group).findings:
            if not told.authored:
                found[_line_without_place(told)] += count
    return found


def named(owner: Owner) -> str:
    """Return what an owner is called, and how many pods it has."""
    name = plain(owner.title)
    return name if owner.kind == "Pod" else f"{name} ({counted(owner.pod_count, 'pod')})"


def findings(owner: Owner, judged: CountedResult) -> list[Line]:
    """Return what is found in an owner's pods that its author wrote, and in which of them where not in all."""
    pods: Counter[Line] = Counter()
    for group in owner.pods:
        for line in _authored(group, judged):
            pods[line] += len(group.names)
    following = _authored(owner.next_pod, judged) if owner.next_pod else {}
    return [
        *(f"{line}{_where(owner, count, coming=line in following)}" for line, count in pods.items()),
        *(f"{line} ({_NEXT})" if owner.pods else line for line in following if line not in pods),
    ]


def _authored(group: PodGroup, judged: CountedResult) -> dict[Line, None]:
    return {line_of(one): None for one in judged(group).findings if one.authored}


def _where(owner: Owner, count: int, *, coming: bool) -> str:
    told = [] if count == owner.pod_count else [f"{count} of {counted(owner.pod_count, 'pod')}"]
    if owner.next_pod and not coming:
        told.append(f"not {_NEXT}")
    return f" ({', '.join(told)})" if told else ""


def _line_without_place(told: ReportedFinding) -> Line:
    return plain(f"{told.action}: {told.rule}: {told.detail}")
