"""What another policy changes for an object that both policies evaluated.

Nearly every policy patches every pod (the API server token is capped), so outcomes alone say little: the results are
compared finding by finding. A change is counted if and only if a finding, an outcome or a token differs that
`differences` or `token_differences` returns.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from webhook.core.decision import WOULD_BE_DENIED, Outcome
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import (
    AppliedExemption,
    Audience,
    Change,
    EvaluationResult,
    Lifetime,
    PodToken,
    ReportedFinding,
)

_PROBLEM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|;(?! )|[^;"])*')
"""What is wrong, without the advice after it; quoted names may contain semicolons."""
_LIMIT = re.compile(r", exceeding the maximum \d+s")
_DENIED = f"; {WOULD_BE_DENIED}"
_NEWLY = {
    Outcome.PATCHED: Change.NEWLY_PATCHED,
    Outcome.WARNED: Change.NEWLY_WARNED,
    Outcome.ALLOWED: Change.NEWLY_ALLOWED,
}
Item = ReportedFinding | AppliedExemption
_T = TypeVar("_T")
_Pair = tuple[list[_T], list[_T]]
"""What only the first and what only the second of two results has."""


def change_between(
    before: EvaluationResult,
    after: EvaluationResult | None,
    tokens: tuple[Iterable[PodToken], Iterable[PodToken]] = ((), ()),
) -> Change:
    """Return the most severe change; unchanged without a result of another policy.

    `tokens` are those of the pod under both policies: a finding doesn't contain all details of its patch, such as the
    lifetime of an injected token.
    """
    if after is None:
        return Change.UNCHANGED
    if after.outcome is Outcome.DENIED:
        return _denied(before, after) if before.outcome is Outcome.DENIED else Change.NEWLY_DENIED
    if before.outcome is Outcome.DENIED:
        return _NEWLY[after.outcome]
    same_tokens = not any(token_differences(*tokens))
    change = _patched(_Comparison(before, after, Action.PATCH), same_tokens=same_tokens)
    return change or _warned(_Comparison(before, after, Action.WARN), after) or _audited(before, after)


def differences(before: EvaluationResult, after: EvaluationResult) -> _Pair[Item]:
    """Return the findings and exemptions of only one of two results: those of the first, then those of the second."""
    return _only_in_one(*({_key(item): item for item in _items(result)} for result in (before, after)))


def token_differences(before: Iterable[PodToken], after: Iterable[PodToken]) -> _Pair[tuple[Audience, Lifetime]]:
    """Return the audiences and lifetimes of the tokens of only one of two pods."""
    old, new = ({(token.audience, token.lifetime_seconds): None for token in tokens} for tokens in (before, after))
    return [token for token in old if token not in new], [token for token in new if token not in old]


def _only_in_one(old: dict[object, Item], new: dict[object, Item]) -> _Pair[Item]:
    return [old[key] for key in old if key not in new], [new[key] for key in new if key not in old]


def _items(result: EvaluationResult) -> tuple[Item, ...]:
    return *result.findings, *result.exemptions


def _key(item: Item) -> object:
    if isinstance(item, AppliedExemption):
        return item.rule, item.path, item.detail, item.reason, item.until
    return _substance(item)


class _Comparison:
    """The findings of two results with one action."""

    def __init__(self, before: EvaluationResult, after: EvaluationResult, action: Action) -> None:
        self.old, self.new = (
            {_substance(finding) for finding in result.findings if finding.action is action}
            for result in (before, after)
        )
        self.differ = self.old != self.new
        self.more = bool(_places(self.new) - _places(self.old))


_Substance = tuple[str, str, Action, str]


def _substance(finding: ReportedFinding) -> _Substance:
    """Return what makes a finding another one: rule, path, action, and what is wrong there or what a patch does.

    The advice at its end is no part of it, because that may name limits that the finding does not violate. Nor is, if
    something is patched, the limit that it exceeds. The intended action counts as far as the finding says what mode
    enforce would do.
    """
    match = _PROBLEM.match(finding.detail)
    problem = match[0] if match else ""
    rest = finding.detail[len(problem) :]
    if finding.action is Action.PATCH:
        problem = _LIMIT.sub("", finding.detail)
    elif finding.action is not Action.REJECT and finding.intended in {Action.PATCH, Action.REJECT}:
        problem += _DENIED if rest.startswith(_DENIED) else rest
    return finding.rule, finding.path, finding.action, problem


def _places(findings: Iterable[_Substance]) -> Counter[tuple[str, str]]:
    """Count findings by rule and path: all injections have one path."""
    return Counter((rule, path) for rule, path, *_ in findings)


def _denied(before: EvaluationResult, after: EvaluationResult) -> Change:
    rejections = _Comparison(before, after, Action.REJECT)
    if rejections.more:
        return Change.DENIED_FOR_MORE
    if rejections.differ:
        return Change.DENIED_DIFFERENTLY
    others = (_Comparison(before, after, action) for action in (Action.PATCH, Action.WARN))
    return Change.STILL_DENIED if any(comparison.differ for comparison in others) else _audited(before, after)


def _patched(patches: _Comparison, *, same_tokens: bool) -> Change | None:
    if same_tokens and not patches.differ:
        return None
    if not patches.new:
        return Change.NO_LONGER_PATCHED
    return Change.NEWLY_PATCHED if patches.more and patches.old <= patches.new else Change.PATCHED_DIFFERENTLY


def _warned(warnings: _Comparison, after: EvaluationResult) -> Change | None:
    if warnings.more:
        return Change.NEWLY_WARNED
    if not warnings.differ:
        return None
    if warnings.new:
        return Change.WARNED_DIFFERENTLY
    return Change.NEWLY_ALLOWED if after.outcome is Outcome.ALLOWED else Change.NO_LONGER_WARNED


def _audited(before: EvaluationResult, after: EvaluationResult) -> Change:
    audited = _Comparison(before, after, Action.AUDIT)
    if not audited.differ:
        return Change.UNCHANGED
    if not audited.new:
        return Change.NO_LONGER_AUDITED
    return Change.NEWLY_AUDITED if audited.more and audited.old <= audited.new else Change.AUDITED_DIFFERENTLY
