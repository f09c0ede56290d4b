"""The audit record of a decision, of bounded size however large the object.

It contains no token, no Secret data and no value of an env variable; the values in `patch` come from the policy.
"""

import datetime as dt
from typing import Any

import msgspec
from msgspec import UNSET

from webhook.audit.record_types import (
    MAX_FINDINGS,
    MAX_OPERATION,
    MAX_OPERATIONS,
    MAX_TEXT,
    LeftOut,
    Record,
    RecordedFinding,
)
from webhook.core.admission_request import AdmissionRequest
from webhook.core.decision import INVALID_POLICY, Decision, first_of_each_rule
from webhook.core.k8s_types import AnyWorkload, Pod
from webhook.core.policy.configmap_admission import error_location
from webhook.core.policy.model import Action
from webhook.core.safe_output import safe_json_line
from webhook.core.secret_content import ReviewedSecret
from webhook.core.token_objects import ServiceAccount, TokenRequest

_encode = msgspec.json.Encoder().encode
_TEXTS = (
    "uid", "operation", "resource", "namespace", "name", "generate_name", "owner", "service_account", "user", "note",
    "problem",
)  # fmt: skip
_NO_PATCH: tuple[Any, int] = [], 0


def encode_record(
    request: AdmissionRequest, decision: Decision, now: dt.datetime, seconds: float, *, sample: float = 1.0
) -> bytes:
    """Return the record of a decision as a line with its newline.

    `now` is aware, `seconds` the time spent on decoding and evaluation, `sample` the share of such records to write.
    """
    record = _record(request, decision, now, seconds)
    if sample < 1:
        record.sample = sample
    return safe_json_line(_encode(record)) + b"\n"


def _patch(decision: Decision) -> tuple[Any, int]:
    """Return the patch as JSON, cut to the limits of a record, and the number of operations left out."""
    complete = safe_json_line(decision.encoded_patch)
    if len(complete) <= MAX_OPERATION and len(decision.patch) <= MAX_OPERATIONS:
        return msgspec.Raw(complete), 0
    operations = [safe_json_line(_encode(operation)) for operation in decision.patch[:MAX_OPERATIONS]]
    short = [operation for operation in operations if len(operation) <= MAX_OPERATION]
    return msgspec.Raw(b"[" + b",".join(short) + b"]"), len(decision.patch) - len(short)


def _record(request: AdmissionRequest, decision: Decision, now: dt.datetime, seconds: float) -> Record:
    patch, operations_left_out = _patch(decision) if decision.patch else _NO_PATCH
    owner = generate_name = account = ""
    name = request.name
    obj = request.object
    if obj is not None:
        meta = obj.metadata
        if meta.owner_references and (controller := meta.controller):
            owner = f"{controller.kind}/{controller.name}"
        if not name:
            name = meta.name or ""
            generate_name = "" if name else meta.generate_name or ""
        account = _account(request, obj)
    uid, operation, resource, namespace, user = (
        request.uid, request.operation, request.resource, request.namespace, request.user,
    )  # fmt: skip
    note, problem = decision.note, decision.problem
    findings_left_out = len(decision.findings) + len(decision.policy_errors) - MAX_FINDINGS
    record = Record(
        time=now if now.tzinfo is dt.UTC else now.astimezone(dt.UTC),
        id=request.decision_id,
        uid=uid,
        webhook=request.phase,
        decision=decision.outcome,
        operation=operation,
        resource=resource,
        namespace=namespace,
        name=name or UNSET,
        generate_name=generate_name or UNSET,
        owner=owner,
        service_account=account,
        user=user,
        dry_run=request.dry_run,
        findings=_findings(decision) if decision.findings or decision.policy_errors else [],
        patch=patch,
        left_out=LeftOut(max(findings_left_out, 0), operations_left_out)
        if findings_left_out > 0 or operations_left_out
        else UNSET,
        exemption=exemption_of(decision)[:MAX_OPERATION] if decision.exempted else "",
        policy=decision.policy,
        duration_ms=round(seconds * 1000, 3),
        note=note or UNSET,
        problem=problem or UNSET,
    )
    size = len(uid) + len(operation) + len(resource) + len(namespace) + len(name) + len(generate_name) + len(owner)
    if size + len(account) + len(user) + len(note) + len(problem) > MAX_TEXT:
        _shorten(record)
    return record


def _shorten(record: Record) -> None:
    """Cut texts that are too long. Rarely called: the caller checks their total length first."""
    for key in _TEXTS:
        text = getattr(record, key)
        if text:
            setattr(record, key, text[:MAX_TEXT])


def _findings(decision: Decision) -> list[RecordedFinding]:
    findings = [
        RecordedFinding(finding.rule, finding.action, _cut(finding.path), _cut(finding.detail))
        for finding in first_of_each_rule(decision.findings, MAX_FINDINGS)
    ]
    for path, detail in map(error_location, decision.policy_errors[:MAX_FINDINGS]):
        findings.append(RecordedFinding(INVALID_POLICY, Action.REJECT, path, _cut(detail)))
    return findings


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT]


def exemption_of(decision: Decision) -> str:
    """Return the exemptions that applied: `rule: reason (until day); ...`."""
    if not decision.exemptions:
        return ""
    return "; ".join(f"{rule}: {exemption}" for rule, exemption in decision.exemptions)


def _account(request: AdmissionRequest, obj: object) -> str:
    if isinstance(obj, Pod):
        return obj.spec.service_account_name or "default"
    if isinstance(obj, AnyWorkload):
        return obj.template.spec.service_account_name or "default"
    if isinstance(obj, TokenRequest | ServiceAccount):
        return request.name
    return obj.account_in(request.namespace) if isinstance(obj, ReviewedSecret) else ""
