"""What another policy changes for an object that both policies evaluated.

Nearly every policy patches every pod (the API server token is capped), so outcomes alone say little: the results
are compared finding by finding.
"""

import re
from collections import Counter

from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import Change, EvaluationResult, ReportedFinding

_PROBLEM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|;(?! )|[^;"])*')
"""What is wrong, without the advice after it; quoted names may contain semicolons."""
_NEWLY = {
    Outcome.PATCHED: Change.NEWLY_PATCHED,
    Outcome.WARNED: Change.NEWLY_WARNED,
    Outcome.ALLOWED: Change.NEWLY_ALLOWED,
}


def change_between(before: EvaluationResult, after: EvaluationResult | None, *, same_patch: bool = True) -> Change:
    """Return the most severe change; unchanged without a result of another policy.

    `same_patch` says that both patches are equal: a finding doesn't contain all details of its patch, such as the
    lifetime of an injected token.
    """
    if after is None:
        return Change.UNCHANGED
    if after.outcome is Outcome.DENIED:
        return _denied(before, after) if before.outcome is Outcome.DENIED else Change.NEWLY_DENIED
    if before.outcome is Outcome.DENIED:
        return _NEWLY[after.outcome]
    change = _patched(_Comparison(before, after, Action.PATCH), same_patch=same_patch)
    return change or _warned(_Comparison(before, after, Action.WARN), after) or _audited(before, after)


class _Comparison:
    """The findings of two results with one action."""

    def __init__(self, before: EvaluationResult, after: EvaluationResult, action: Action) -> None:
        old, new = ([finding for finding in result.findings if finding.action is action] for result in (before, after))
        self.old, self.new = ({_substance(finding) for finding in findings} for findings in (old, new))
        self.differ = self.old != self.new
        self.more = bool(_places(new) - _places(old))


def _substance(finding: ReportedFinding) -> tuple[str, str, Action, str]:
    """Return what makes a finding another one: all but the advice, which may name limits that it does not violate."""
    problem = _PROBLEM.match(finding.detail)
    is_patch = finding.intended is Action.PATCH
    return finding.rule, finding.path, finding.intended, finding.detail if is_patch or not problem else problem[0]


def _places(findings: list[ReportedFinding]) -> Counter[tuple[str, str]]:
    """Count findings by rule and path: all injections have one path."""
    return Counter((finding.rule, finding.path) for finding in findings)


def _denied(before: EvaluationResult, after: EvaluationResult) -> Change:
    rejections = _Comparison(before, after, Action.REJECT)
    if rejections.more:
        return Change.DENIED_FOR_MORE
    if rejections.differ:
        return Change.DENIED_DIFFERENTLY
    others = (_Comparison(before, after, action) for action in (Action.PATCH, Action.WARN))
    return Change.STILL_DENIED if any(comparison.differ for comparison in others) else _audited(before, after)


def _patched(patches: _Comparison, *, same_patch: bool) -> Change | None:
    if same_patch and not patches.differ:
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
