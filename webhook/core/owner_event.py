"""What is told to the people behind a controller: the answer about its pod goes to the controller, not to them."""

import msgspec

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.decision import Decision, Outcome
from webhook.core.k8s_names import is_api_version, is_dns_label, is_dns_subdomain, is_kind, is_uid
from webhook.core.k8s_types import OwnerReference
from webhook.core.kinds import Subject

REJECTED, EXEMPTED = "PodRejected", "PodExempted"


class OwnerEvent(msgspec.Struct, frozen=True, gc=False):
    """One pod that was rejected or exempted, for an Event on its owner in a namespace.

    `reason` is an Event's, `about` the names of the rules: of one owner, what agrees in both is the same thing again.
    """

    namespace: str
    owner: OwnerReference
    reason: str
    about: str
    message: str


def build_owner_event(request: AdmissionRequest, decision: Decision) -> OwnerEvent | None:
    """Return what is to be told of a decision, or None where nothing is.

    Of a pod that no controller made, its author saw the answer. A dry run leaves nothing behind. No Event can be about
    an owner whose name, kind, API version or uid no object can have, or in a namespace that there can't be.
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
        rules = dict.fromkeys(finding.rule for finding in decision.rejections())
        return OwnerEvent(request.namespace, owner, REJECTED, ",".join(rules), decision.message(request.decision_id))
    told = "; ".join(f"a pod is exempt from {rule}: {exemption}" for rule, exemption in decision.exemptions)
    rules = dict.fromkeys(rule for rule, _ in decision.exemptions)
    return OwnerEvent(
        request.namespace, owner, EXEMPTED, ",".join(rules), f"{told}\n[tokenguard {request.decision_id}]"
    )


def _can_exist(owner: OwnerReference) -> bool:
    return (
        is_dns_subdomain(owner.name or "")
        and is_kind(owner.kind or "")
        and is_api_version(owner.api_version or "")
        and is_uid(owner.uid or "")
    )
