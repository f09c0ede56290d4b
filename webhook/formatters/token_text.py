"""Inspection and verification of a token as text."""

import datetime as dt
from collections.abc import Iterator

from webhook.core.decision import Decision
from webhook.core.formatting import plain, quote
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.tokens.claims import BoundObject, Token, TokenKind
from webhook.tokens.humanize import humanize_interval, humanize_seconds
from webhook.tokens.inspection import TokenInspection
from webhook.tokens.verification import VerificationResult

KINDS = {
    TokenKind.LEGACY: "legacy token, stored in a Secret",
    TokenKind.POD: "bound to a pod: projected into it or requested for it",
    TokenKind.REQUEST: "requested by TokenRequest, not bound to a pod",
    TokenKind.OTHER: "not a service account token",
}
UNBOUND = "nothing: an unbound token cannot be revoked before it expires"


def format_inspection(inspection: TokenInspection, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the token's claims, their problems, and the policy's decision about such a token."""
    token, decision = inspection.token, inspection.decision
    account = f"{token.namespace}/{token.account}" if token.kind is not TokenKind.OTHER else token.subject
    key = f"key {quote(token.key_id)}" if token.key_id else "no key named"
    yield from _fields({
        "kind": [KINDS[token.kind]],
        "account": [_with_uid(account, token.account_uid)],
        "audiences": [", ".join(map(quote, token.audiences)) or "none: valid for the API server"],
        "issuer": [plain(token.issuer)],
        "issued": [_time(token.issued_at)],
        "expires": [_expiry(token, inspection.now)],
        "lifetime": [_lifetime(token)],
        "bound to": list(map(_bound, token.bound)) or [UNBOUND],
        "id": [plain(token.id)],
        "signature": [f"{plain(token.algorithm)}, {key}; not verified (see 'tokenguard token verify')"],
        "problems": list(inspection.problems),
        "policy": list(_decision(token, decision, inspection.policy_origin)) if decision else [],
    })  # fmt: skip


def format_verification(result: VerificationResult, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield whether a token is accepted, for which audiences, and why not."""
    if result.accepted:
        fields = {
            "accepted": [f"for {quote(audience)}" for audience in result.audiences] or ["for the API server"],
            "rejected": [f"for {quote(audience)}" for audience in result.rejected],
            "account": [plain(result.account)],
        }
    else:
        account = f"{plain(result.account)} (claimed)" if result.account else ""
        fields = {"rejected": list(result.reasons), "account": [account]}
    yield from _fields(fields | {"method": [result.method], "note": list(result.notes)})


def _fields(fields: dict[str, list[str]]) -> Iterator[str]:
    """Yield each field's values below each other, behind its name; empty values are left out."""
    for name, values in fields.items():
        for number, value in enumerate(filter(None, values)):
            yield f"{name if number == 0 else '':<9}  {value}"


def _with_uid(name: str, uid: str) -> str:
    return f"{plain(name)} (uid {plain(uid)})" if uid else plain(name)


def _bound(bound: BoundObject) -> str:
    return _with_uid(f"{bound.kind} {bound.name}", bound.uid)


def _time(time: dt.datetime | None) -> str:
    return time.isoformat().replace("+00:00", "Z") if time else "unknown"


def _expiry(token: Token, now: dt.datetime) -> str:
    if token.expires_at is None:
        return "never"
    interval = humanize_interval(now, token.expires_at)
    return f"{_time(token.expires_at)}, {f'in {interval}' if token.expires_at > now else f'{interval} ago'}"


def _lifetime(token: Token) -> str:
    if token.lifetime is None:
        return "unlimited" if token.expires_at is None else "unknown"
    return f"{humanize_seconds(token.lifetime)} ({token.lifetime} seconds)"


def _decision(token: Token, decision: Decision, origin: str) -> Iterator[str]:
    kind = "Secret" if token.kind is TokenKind.LEGACY else "TokenRequest"
    outcome = f"not evaluated: {plain(decision.note)}" if decision.note else f"would be {decision.outcome}"
    yield f"{plain(origin)} (revision {decision.policy}, mode {decision.mode})" if decision.mode else plain(origin)
    yield f"a {kind} for such a token in namespace {plain(token.namespace)} {outcome}"
    for finding in decision.findings:
        yield f"{finding.action}: {plain(str(finding))}"
    for rule, exemption in decision.exemptions:
        yield f"exempt: {rule}: {plain(str(exemption))}"
