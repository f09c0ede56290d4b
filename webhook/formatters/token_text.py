"""What is known of a token, and what became of it, as text for people."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence

from webhook.core.decision import Decision, Outcome
from webhook.core.text import plain, quote
from webhook.tokens.claims import BoundObject, Token, TokenKind
from webhook.tokens.humanize import humanize_interval, humanize_seconds
from webhook.tokens.verification import VerificationResult

KINDS = {
    TokenKind.LEGACY: "legacy: kept in a Secret, without end",
    TokenKind.POD: "a pod's: projected into it, or asked for with a TokenRequest that names it",
    TokenKind.REQUEST: "asked for with a TokenRequest that names no pod",
    TokenKind.OTHER: "no service account's token",
}
NOT_CHECKED = "note: the signature isn't checked here, 'tokenguard token verify' does that"
_OUTCOMES = {Outcome.DENIED: "refuses", Outcome.WARNED: "warns of", Outcome.ALLOWED: "allows", Outcome.PATCHED: "mends"}


def token_lines(token: Token, problems: Sequence[str], decision: Decision | None, now: dt.datetime) -> Iterator[str]:
    """Yield what a token says of itself, what is amiss with it, and what the policy says about such a one."""
    account = f"{token.namespace}/{token.account}" if token.kind is not TokenKind.OTHER else token.subject
    yield from _fields({
        "kind": [KINDS[token.kind]],
        "account": [_with_uid(account, token.account_uid)],
        "audiences": [", ".join(map(quote, token.audiences)) or "none, so the API server's"],
        "issuer": [plain(token.issuer)],
        "issued": [_time(token.issued_at)],
        "expires": [_end(token, now)],
        "lifetime": [_lifetime(token)],
        "bound to": list(map(_bound, token.bound)) or ["nothing"],
        "id": [plain(token.id)],
        "signed": [f"{plain(token.algorithm)}, with key {quote(token.key_id) if token.key_id else 'not named'}"],
        "amiss": [f"it {one}" for one in problems],
        "policy": list(_judged(token, decision)) if decision else [],
    })  # fmt: skip
    yield NOT_CHECKED


def verification_lines(result: VerificationResult) -> Iterator[str]:
    """Yield whether a token was accepted, for whom, and why not otherwise."""
    if result.accepted:
        fields = {
            "accepted": [f"for {quote(one)}" for one in result.audiences] or ["for the API server"],
            "refused": [f"for {quote(one)}" for one in result.refused],
            "account": [plain(result.account)],
        }
    else:
        fields = {"refused": list(result.reasons), "account": [f"{plain(result.account)}, as it says"]}
        if not result.account:
            fields.pop("account")
    yield from _fields(fields | {"asked": [result.by], "note": list(result.notes)})


def _fields(fields: dict[str, list[str]]) -> Iterator[str]:
    """Yield the values below each other, each after its name; values that are empty are left out."""
    for name, values in fields.items():
        for number, value in enumerate(filter(None, values)):
            yield f"{name if number == 0 else '':<9}  {value}"


def _with_uid(name: str, uid: str) -> str:
    return f"{plain(name)} (uid {plain(uid)})" if uid else plain(name)


def _bound(bound: BoundObject) -> str:
    return _with_uid(f"{bound.kind} {bound.name}", bound.uid)


def _time(time: dt.datetime | None) -> str:
    return time.isoformat().replace("+00:00", "Z") if time else "not said"


def _end(token: Token, now: dt.datetime) -> str:
    if token.expires_at is None:
        return "never"
    left = humanize_interval(now, token.expires_at)
    return f"{_time(token.expires_at)}, {f'in {left}' if token.expires_at > now else f'{left} ago'}"


def _lifetime(token: Token) -> str:
    if token.lifetime is None:
        return "without end" if token.expires_at is None else "not said"
    return f"{humanize_seconds(token.lifetime)} ({token.lifetime} seconds)"


def _judged(token: Token, decision: Decision) -> Iterable[str]:
    asked = "a Secret with such a token" if token.kind is TokenKind.LEGACY else "a TokenRequest for such a token"
    here = f"in namespace {plain(token.namespace)}"
    if decision.note:
        yield f"{decision.policy} doesn't judge {asked} {here}: {plain(decision.note)}"
        return
    yield f"{decision.policy} {_OUTCOMES[decision.outcome]} {asked} {here}"
    for finding in decision.findings:
        yield f"{finding.action}: {plain(str(finding))}"
    for rule, exemption in decision.exemptions:
        until = exemption.until.isoformat() if exemption.until else "for ever"
        yield f"exempt: {rule}, until {until}: {plain(exemption.reason)}"
