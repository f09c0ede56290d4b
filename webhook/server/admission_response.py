"""A decision as an AdmissionReview response."""

import msgspec

from webhook.audit.record import exemption_of
from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.decision import INVALID_POLICY, Decision, Outcome
from webhook.core.policy.configmap_admission import error_location

WARNING_BYTES = 4096
"""The API server cuts warnings off that are longer than this in all."""


class _Cause(msgspec.Struct, omit_defaults=True, gc=False):
    field: str
    message: str
    reason: str = ""


class _Details(msgspec.Struct, gc=False):
    kind: str
    name: str
    causes: list[_Cause]


class _Status(msgspec.Struct, omit_defaults=True, gc=False):
    code: int
    reason: str
    message: str
    details: _Details | None = None


class _Response(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    uid: str
    allowed: bool
    patch_type: str | None = None
    patch: bytes | None = None  # bytes are base64 on the wire
    status: _Status | None = None
    warnings: list[str] | None = None
    audit_annotations: dict[str, str] | None = None


_encode = msgspec.json.Encoder().encode
_BEFORE = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":'


def encode_response(request: AdmissionRequest, decision: Decision) -> bytes:
    """Return the AdmissionReview that answers a request."""
    denied = decision.outcome is Outcome.DENIED
    response = _Response(request.uid, not denied, audit_annotations=_annotations(request, decision))
    if denied:
        response.status = _Status(*decision.status, decision.message(request.decision_id), _details(request, decision))
    elif decision.patch and request.phase is Phase.MUTATE:
        response.patch_type = "JSONPatch"
        response.patch = decision.encoded_patch
    if decision.findings or decision.problem or decision.policy_warnings:
        warnings = decision.warnings()
        if warnings:
            response.warnings = bounded(warnings, "" if denied else decision.help)
    return _BEFORE + _encode(response) + b"}"


def _details(request: AdmissionRequest, decision: Decision) -> _Details | None:
    """Return policy errors as causes: kubectl prints one a line, and `kubectl edit` opens the editor again.

    kubectl prints no message beside causes, so the last cause has the decision's id.
    """
    if not decision.policy_errors:
        return None
    causes = [_Cause(*error_location(error), "FieldValueInvalid") for error in decision.policy_errors]
    return _Details("ConfigMap", request.name, [*causes, _Cause(*decision.reference(request.decision_id))])


def _annotations(request: AdmissionRequest, decision: Decision) -> dict[str, str]:
    annotations = {"id": request.decision_id, "decision": decision.outcome.value}
    if decision.policy:
        annotations["policy"] = decision.policy
    if decision.findings:
        annotations["rules"] = ",".join(dict.fromkeys([finding.rule for finding in decision.findings]))
    elif decision.policy_errors:
        annotations["rules"] = INVALID_POLICY
    if decision.exemptions:
        annotations["exemption"] = exemption_of(decision)
    return annotations


def bounded(warnings: tuple[str, ...], last: str = "") -> list[str]:
    """Return the warnings without control characters and, in all, no longer than the API server passes on.

    `last` is a warning that always follows them.
    """
    lines: list[str] = []
    left = WARNING_BYTES - 32 - len(last.encode())  # room for saying how many more
    for number, warning in enumerate(warnings):
        line = warning if warning.isprintable() else "".join(c if c.isprintable() else " " for c in warning)
        size = len(line.encode())
        if size > left and not lines:
            line = line.encode()[: left - 3].decode(errors="ignore") + "…"
        elif size > left:
            lines.append(f"and {len(warnings) - number} more")
            break
        left -= size
        lines.append(line)
    return [*lines, last] if last else lines
