"""Which of two policies decides about a pod while replicas get the new one.

Replicas get a changed policy up to seconds apart, and a pod is sent to two of them: one patches it, one validates it.
Without this module, a pod that one policy has patched would be denied by the other one for want of a patch.
"""

import datetime as dt

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.decision import Decision, Finding, MountedToken, Outcome
from webhook.core.evaluate import evaluate, is_unpatched
from webhook.core.json_patch import is_inside
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action, Policy
from webhook.core.snapshot import Snapshot

DURATION = 3.0
"""Seconds after a change in which a pod may still be admitted as the previous policy admits it."""
PATCH_DURATION = 1.0
"""Seconds after a change in which a pod is still patched as before. Short, because a patch stays as long as its pod."""


def evaluate_after_change(
    request: AdmissionRequest, snapshot: Snapshot, previous: Policy, age: float, now: dt.datetime
) -> Decision:
    """Return the decision of a policy that replaced `previous` `age` seconds ago, for some pods that of `previous`.

    `previous` decides about a pod if it patches what the policy neither patches nor removes, because another replica
    may still require this patch; and if it admits what the policy denies only for want of patches, because another
    replica has evaluated the pod before. What the policy rejects for another reason is denied.
    """
    decision = evaluate(request, snapshot.policy, snapshot.cluster, now)
    if request.subject is not Subject.POD:
        return decision
    if request.phase is Phase.MUTATE:
        before = evaluate(request, previous, snapshot.cluster, now) if age < PATCH_DURATION else decision
        return before if _lacking(decision, before) else decision
    if decision.outcome is Outcome.DENIED and all(map(_lacks_patch, decision.rejections())):
        before = evaluate(request, previous, snapshot.cluster, now)
        return decision if before.outcome is Outcome.DENIED else before
    return decision


def _lacking(decision: Decision, before: Decision) -> bool:
    """Return whether a decision neither patches nor removes something that the one of the previous policy patches."""
    removed = {operation["path"] for operation in decision.patch if operation["op"] == "remove"}
    patched = set(map(_key, _patches(decision)))
    return any(
        _key(finding) not in patched and not all(is_inside(edit.pointer, removed) for edit in finding.violation.edits)
        for finding in _patches(before)
    )


def _patches(decision: Decision) -> list[Finding]:
    return [finding for finding in decision.findings if finding.action is Action.PATCH]


def _key(finding: Finding) -> tuple[str, str, MountedToken | None]:
    return finding.rule, finding.violation.pointer, finding.violation.token


def _lacks_patch(finding: Finding) -> bool:
    return bool(finding.violation.edits) and (finding.intended is Action.PATCH or is_unpatched(finding))
