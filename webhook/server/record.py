"""What a line of the audit log says of a decision. However large the object, a line stays within bounds.

Never in it: tokens, a Secret's data, an env variable's value. The values in `patch` are the policy's own words.
"""

import datetime as dt

import msgspec

from webhook.core.decision import INVALID_POLICY, Decision
from webhook.core.objects import (
    LEGACY_TOKEN_ACCOUNT,
    CronJob,
    PodTemplate,
    Secret,
    ServiceAccount,
    TokenRequest,
    Workload,
)
from webhook.core.patch import Operation
from webhook.core.policy.admission import located
from webhook.core.policy.model import Action
from webhook.core.request import Request

_LONGEST = 1024
_LONGEST_OPERATION = 8192
_MOST = 100


class _Finding(msgspec.Struct, gc=False):
    rule: str
    action: str
    path: str
    detail: str


class _LeftOut(msgspec.Struct, omit_defaults=True, gc=False):
    """How many the line doesn't list."""

    findings: int = 0
    patch: int = 0


class Record(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, gc=False):
    """One line. `owner` is `Kind/name` of the controller; `duration_ms` is what reading and deciding took."""

    time: dt.datetime
    id: str
    uid: str
    webhook: str
    decision: str
    operation: str
    resource: str
    namespace: str
    name: str | None = None
    generate_name: str | None = None
    owner: str
    service_account: str
    user: str
    dry_run: bool
    findings: list[_Finding]
    patch: list[Operation]
    left_out: _LeftOut | None = None
    exemption: str
    policy: str
    duration_ms: float
    note: str | None = None
    problem: str | None = None


encode = msgspec.json.Encoder().encode


def record(request: Request, decision: Decision, now: dt.datetime, seconds: float) -> Record:
    """Return the line that tells of a decision; `now` is aware."""
    owner = generate_name = account = ""
    patch = [one for one in decision.patch[:_MOST] if len(encode(one)) <= _LONGEST_OPERATION]
    found_wrong = len(decision.findings) + len(decision.mistakes)
    left_out = _LeftOut(max(found_wrong - _MOST, 0), len(decision.patch) - len(patch))
    found = request.object
    name = request.name
    if found is not None:
        meta = found.metadata
        controller = meta.controller
        owner = f"{controller.kind}/{controller.name}" if controller else ""
        name = name or meta.name or ""
        generate_name = meta.generate_name or ""
        account = _account(request, found)
    return Record(
        time=now.astimezone(dt.UTC),
        id=request.decision_id,
        uid=request.uid[:_LONGEST],
        webhook=request.phase.value,
        decision=decision.outcome.value,
        operation=request.operation[:_LONGEST],
        resource=request.resource[:_LONGEST],
        namespace=request.namespace[:_LONGEST],
        owner=owner[:_LONGEST],
        service_account=account[:_LONGEST],
        user=request.user[:_LONGEST],
        dry_run=request.dry_run,
        findings=_findings(decision),
        patch=patch,
        left_out=left_out if left_out.findings or left_out.patch else None,
        exemption=exemption_of(decision),
        policy=decision.policy,
        duration_ms=round(seconds * 1000, 3),
        name=name[:_LONGEST] or None,
        generate_name=None if name else generate_name[:_LONGEST] or None,
        note=decision.note[:_LONGEST] or None,
        problem=decision.problem[:_LONGEST] or None,
    )


def _findings(decision: Decision) -> list[_Finding]:
    findings = [
        _Finding(one.rule, one.action.value, one.path[:_LONGEST], one.detail[:_LONGEST])
        for one in decision.findings[:_MOST]
    ]
    for path, detail in map(located, decision.mistakes[:_MOST]):
        findings.append(_Finding(INVALID_POLICY, Action.REJECT.value, path, detail[:_LONGEST]))
    return findings


def exemption_of(decision: Decision) -> str:
    """Return under which exemptions a decision was made: `rule: reason (until day)`."""
    if not decision.exemptions:
        return ""
    return "; ".join(f"{rule}: {exemption}" for rule, exemption in decision.exemptions)


def _account(request: Request, found: object) -> str:
    if isinstance(found, TokenRequest | ServiceAccount):
        return request.name
    if isinstance(found, Secret):
        return found.metadata.annotation(LEGACY_TOKEN_ACCOUNT)
    if isinstance(found, Workload | CronJob):
        found = found.template
    return (found.spec.service_account_name or "default") if isinstance(found, PodTemplate) else ""
