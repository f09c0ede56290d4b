"""What is known of a token, and what became of it, as JSON for programs; `version` changes when a key goes."""

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from webhook.core.decision import Decision
from webhook.tokens.claims import Token
from webhook.tokens.verification import VerificationResult

VERSION = 1


def token_text(token: Token, problems: Sequence[str], decision: Decision | None, now: dt.datetime) -> str:
    """Return what a token says of itself, what is amiss (`find_problems`), and the policy's judgement; null: not said.

    Times are RFC 3339, lifetimes seconds; `remainingSeconds` is negative once it has expired, and
    `requestedLifetimeSeconds` is there where it lives longer than was asked for.
    """
    return _text({
        "kind": token.kind,
        "namespace": token.namespace or None,
        "serviceAccount": {"name": token.account, "uid": token.account_uid or None} if token.account else None,
        "subject": token.subject or None,
        "audiences": list(token.audiences),
        "issuer": token.issuer or None,
        "issuedAt": _time(token.issued_at),
        "notBefore": _time(token.not_before),
        "expiresAt": _time(token.expires_at),
        "warnAfter": _time(token.warn_after),
        "lifetimeSeconds": token.lifetime,
        "requestedLifetimeSeconds": token.requested_lifetime,
        "remainingSeconds": int((token.expires_at - now).total_seconds()) if token.expires_at else None,
        "boundTo": [{"kind": one.kind, "name": one.name, "uid": one.uid or None} for one in token.bound],
        "id": token.id or None,
        "algorithm": token.algorithm,
        "keyId": token.key_id or None,
        "signatureChecked": False,
        "notices": [f"it {one}" for one in problems],
        "policy": _decision(decision) if decision else None,
    })  # fmt: skip


def verification_text(result: VerificationResult) -> str:
    """Return whether a token was accepted, for which of the audiences, and why not otherwise."""
    return _text({
        "accepted": result.accepted,
        "audiences": list(result.audiences),
        "refusedAudiences": list(result.refused),
        "account": result.account or None,
        "reasons": list(result.reasons),
        "asked": result.by,
        "notes": list(result.notes),
    })  # fmt: skip


def _text(values: dict[str, Any]) -> str:
    return json.dumps({"version": VERSION} | values, indent=2)  # in ASCII: what a token says may be anything


def _time(time: dt.datetime | None) -> str | None:
    return time.isoformat().replace("+00:00", "Z") if time else None


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "revision": decision.policy,
        "outcome": decision.outcome,
        "findings": [
            {"rule": one.rule, "action": one.action, "path": one.path, "detail": one.detail}
            for one in decision.findings
        ],
        "exemptions": [
            {"rule": rule, "reason": one.reason, "until": one.until.isoformat() if one.until else None}
            for rule, one in decision.exemptions
        ],
        "note": decision.note or None,
    }
