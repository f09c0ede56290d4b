"""What another policy changes for something that both have judged.

Nearly every pod is patched by any policy (the API server's own token is capped), so the outcome alone says little: what
each of them does is compared, finding by finding.
"""

from collections import Counter

from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import Change, EvaluationResult, ReportedFinding

_DENIED = Outcome.DENIED
_NEWLY = {Outcome.PATCHED: Change.PATCHED, Outcome.WARNED: Change.WARNED, Outcome.ALLOWED: Change.FINE}


def change_between(before: EvaluationResult, after: EvaluationResult, *, same_patch: bool = True) -> Change:
    """Return what weighs most of all that differs.

    `same_patch` says that both would mend it alike: of a mending a finding doesn't tell all, such as how long an
    injected token lives.
    """
    if after.outcome is _DENIED:
        return _rejected(before, after) if before.outcome is _DENIED else Change.REJECTED
    if before.outcome is _DENIED:
        return _NEWLY[after.outcome]
    found = _patched(_Comparison(before, after, Action.PATCH), same_patch=same_patch)
    return found or _warned(_Comparison(before, after, Action.WARN), after) or _audited(before, after)


class _Comparison:
    """What two judgements find that has one action, compared."""

    def __init__(self, before: EvaluationResult, after: EvaluationResult, action: Action) -> None:
        was, now = ([one for one in judged.findings if one.action is action] for judged in (before, after))
        self.was, self.now = ({_said(one) for one in told} for told in (was, now))
        self.more = bool(_places(now) - _places(was))

    @property
    def differ(self) -> bool:
        return self.was != self.now


def _said(told: ReportedFinding) -> tuple[str, str, str]:
    return told.rule, told.path, told.detail


def _places(told: list[ReportedFinding]) -> Counter[tuple[str, str]]:
    """Return how often which rule is broken where: several injections are all told of at one place."""
    return Counter((one.rule, one.path) for one in told)


def _rejected(before: EvaluationResult, after: EvaluationResult) -> Change:
    rejections = _Comparison(before, after, Action.REJECT)
    if rejections.more:
        return Change.REJECTED_FOR_MORE
    others = (_Comparison(before, after, action) for action in (Action.PATCH, Action.WARN))
    if rejections.differ or any(both.differ for both in others):
        return Change.REJECTED_OTHERWISE
    return _audited(before, after)


def _patched(both: _Comparison, *, same_patch: bool) -> Change | None:
    if same_patch and not both.differ:
        return None
    if not both.now:
        return Change.UNPATCHED
    return Change.PATCHED if both.more and both.was <= both.now else Change.PATCHED_OTHERWISE


def _warned(both: _Comparison, after: EvaluationResult) -> Change | None:
    if both.more:
        return Change.WARNED
    if not both.differ:
        return None
    if both.now:
        return Change.WARNED_OTHERWISE
    return Change.FINE if after.outcome is Outcome.ALLOWED else Change.UNWARNED


def _audited(before: EvaluationResult, after: EvaluationResult) -> Change:
    return Change.AUDITED_OTHERWISE if _Comparison(before, after, Action.AUDIT).differ else Change.NONE
