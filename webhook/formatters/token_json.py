"""Inspection and verification of a token as JSON; `version` changes when a key is removed or changes its meaning."""

from collections.abc import Iterator
from typing import Any

from webhook.core.decision import Decision
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json
from webhook.tokens.inspection import TokenInspection
from webhook.tokens.verification import VerificationResult

VERSION = 2


def format_inspection(inspection: TokenInspection, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield claims, problems and the policy's decision; null means that the token doesn't say.

    Times are RFC 3339, lifetimes seconds. `remainingSeconds` is negative after the expiry; `requestedLifetimeSeconds`
    is set if the token is valid for longer than requested.
    """
    token, decision = inspection.token, inspection.decision
    yield format_json({
        "version": VERSION,
        "kind": token.kind,
        "namespace": token.namespace or None,
        "serviceAccount": {"name": token.account, "uid": token.account_uid or None} if token.account else None,
        "subject": token.subject or None,
        "audiences": token.audiences,
        "issuer": token.issuer or None,
        "issuedAt": token.issued_at,
        "notBefore": token.not_before,
        "expiresAt": token.expires_at,
        "warnAfter": token.warn_after,
        "lifetimeSeconds": token.lifetime,
        "requestedLifetimeSeconds": token.requested_lifetime,
        "remainingSeconds": int((token.expires_at - inspection.now).total_seconds()) if token.expires_at else None,
        "boundTo": [{"kind": bound.kind, "name": bound.name, "uid": bound.uid or None} for bound in token.bound],
        "id": token.id or None,
        "algorithm": token.algorithm,
        "keyId": token.key_id or None,
        "signatureVerified": False,
        "problems": inspection.problems,
        "policy": _decision(decision, inspection.policy_origin) if decision else None,
    })  # fmt: skip


def format_verification(result: VerificationResult, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield whether a token is accepted, for which audiences, and why not."""
    yield format_json({
        "version": VERSION,
        "accepted": result.accepted,
        "audiences": result.audiences,
        "rejectedAudiences": result.rejected,
        "account": result.account or None,
        "reasons": result.reasons,
        "method": result.method,
        "notes": result.notes,
    })  # fmt: skip


def _decision(decision: Decision, origin: str) -> dict[str, Any]:
    return {
        "origin": origin,
        "revision": decision.policy,
        "outcome": decision.outcome,
        "findings": [
            {"rule": finding.rule, "action": finding.action, "path": finding.path, "detail": finding.detail}
            for finding in decision.findings
        ],
        "exemptions": [
            {"rule": rule, "reason": exemption.reason, "until": exemption.until}
            for rule, exemption in decision.exemptions
        ],
        "note": decision.note or None,
    }
