"""The Event for the people behind a controller, who don't see the answer to its pod."""

import msgspec

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.decision import Decision, Outcome
from webhook.core.k8s_names import is_api_version, is_dns_label, is_dns_subdomain, is_kind, is_uid
from webhook.core.k8s_types import OwnerReference
from webhook.core.kinds import Subject

REJECTED, EXEMPTED = "PodRejected", "PodExempted"
TOKEN_DISABLED, TOKEN_RESTORED = "LegacyTokenDisabled", "LegacyTokenRestored"


class OwnerEvent(msgspec.Struct, frozen=True, gc=False):
    """A pod was denied or exempted: an Event on its owner.

    `rules` are the rules' names, with commas. Two with the same owner, reason and rules are repetitions.
    """

    namespace: str
    owner: OwnerReference
    reason: str
    rules: str
    message: str


def build_owner_event(request: AdmissionRequest, decision: Decision) -> OwnerEvent | None:
    """Return the Event for a decision, or None.

    There is none for a pod without a controller, whose author saw the answer, for a dry run, which leaves nothing
    behind, and for an owner or a namespace that cannot exist: the API server would not accept the Event.
    """
    denied = decision.outcome is Outcome.DENIED
    if not (denied or (decision.exemptions and request.phase is Phase.VALIDATE)):
        return None
    if request.subject is not Subject.POD or request.object is None or request.dry_run:
        return None
    owner = request.object.metadata.controller
    if owner is None or not is_dns_label(request.namespace) or not _can_exist(owner):
        return None
    if denied:
        reason, message = REJECTED, decision.message(request.decision_id)
        rules = dict.fromkeys(finding.rule for finding in decision.rejections())
    else:
        reason, rules = EXEMPTED, dict.fromkeys(rule for rule, _ in decision.exemptions)
        applied = "; ".join(f"a pod is exempt from {rule}: {exemption}" for rule, exemption in decision.exemptions)
        message = f"{applied}\n[tokenguard {request.decision_id}]"
    return OwnerEvent(request.namespace, owner, reason, ",".join(rules), message)


def _can_exist(owner: OwnerReference) -> bool:
    return (
        is_dns_subdomain(owner.name or "")
        and is_kind(owner.kind or "")
        and is_api_version(owner.api_version or "")
        and is_uid(owner.uid or "")
    )
