"""The rule `legacy-token-secret`."""

import base64
import itertools
from collections.abc import Iterator, Sequence

from webhook.core.decision import Violation
from webhook.core.json_patch import escape, json_path
from webhook.core.kinds import Subject
from webhook.core.kubectl_hint import UNKNOWN_ACCOUNT, create_token_command
from webhook.core.legacy_token import ISSUER_CLAIM
from webhook.core.policy.model import NamespacePolicy
from webhook.core.rules import legacy_token_secret as rule
from webhook.core.token_context import TokenRequestContext
from webhook.core.token_objects import (
    INVALID_SINCE,
    LEGACY_TOKEN_ACCOUNT,
    LEGACY_TOKEN_ACCOUNT_UID,
    LEGACY_TOKEN_TYPE,
    TokenRequest,
)
from webhook.export import cel
from webhook.export.check import CompilerInput, ExportedCheck, ExportedRule
from webhook.export.scopes import Variables

_MAX_TEXT = 65536
"""The longest text, in base64, in which a token is looked for: the cost of the search grows with the text."""
_FIRST_LETTERS = ("Z", "e", "C", "D", "I", "w", "4")
"""The first letter, in base64, of an `e`, of white space and of a brace: every token begins with one of them."""
_ACCOUNT_NAME, _NAMESPACE_NAME = "tokenguard-account", "tokenguard-namespace"
_HIDDEN = "a legacy token is recognized by its claim: one in a long text, or with a line break in the claim, is let in"
_UNREADABLE = (
    "CEL cannot read the account of a token: an exemption by serviceAccounts does not cover a token in a Secret of"
    " another type, and any token may be written into a Secret of the legacy type that has none"
)
_UNTIMED = (
    "an update contains no time except that of the last change of a field: an exemption that has ended may still cover"
    " an update that only removes fields"
)
_GAPS = tuple(f"not fully enforced: {gap}" for gap in (_HIDDEN, _UNREADABLE, _UNTIMED))


def rules(given: CompilerInput) -> Iterator[ExportedRule]:
    """Yield the rule."""
    yield ExportedRule(rule.RULE.name, Subject.SECRET, tuple(_checks(given)), tuple(_variables()), _GAPS)


def _variables() -> Variables:
    def annotation(secret: str, name: str) -> str:
        return f"{secret}.metadata.?annotations[?{cel.string(name)}].orValue('')"

    def text(secret: str) -> str:  # null counts as no text
        return f"optional.ofNonZeroValue({secret}.?data[?'token'].orValue('')).orValue('')"

    def label(secret: str) -> str:
        return f"{secret}.metadata.?labels[?{cel.string(INVALID_SINCE)}].orValue('')"

    for name, expression in (
        ("account", lambda secret: annotation(secret, LEGACY_TOKEN_ACCOUNT)),
        ("uid", lambda secret: annotation(secret, LEGACY_TOKEN_ACCOUNT_UID)),
        ("token", text),
        ("invalid", label),
    ):
        yield name, expression("object")
        yield f"{name}Before", f"request.operation == 'UPDATE' ? {expression('oldObject')} : ''"
    yield "isUpdate", "request.operation == 'UPDATE'"
    yield "isLegacy", f"object.?type.orValue('') == {cel.string(LEGACY_TOKEN_TYPE)}"
    yield (
        "containsToken",
        (
            f"variables.token.size() <= {_MAX_TEXT}"
            f" && {cel.strings(_FIRST_LETTERS)}.exists(letter, variables.token.startsWith(letter))"
            f" && {cel.strings(claim_texts())}.exists(part, variables.token.contains(part))"
        ),
    )


def claim_texts() -> tuple[str, ...]:
    """Return what the issuer's claim looks like in a Secret: base64url in the token, and base64 of that in the Secret.

    Both depend on where in a group of three bytes the claim begins.
    """
    texts = []
    for shift, inner in itertools.product(range(3), repeat=2):
        payload = _core(base64.urlsafe_b64encode(b"\0" * shift + ISSUER_CLAIM), shift, len(ISSUER_CLAIM))
        texts.append(_core(base64.b64encode(b"\0" * inner + payload), inner, len(payload)).decode())
    return tuple(texts)


def _core(encoded: bytes, shift: int, length: int) -> bytes:
    """Return the part of an encoded text that depends on the text alone, not on what is before and after it."""
    return encoded[-(-shift * 8 // 6) : (shift + length) * 8 // 6]


def _account(account: str) -> str:
    """Return whose token it is, for a message; empty if that is unknown."""
    return f"({account}.matches('^/*$') ? '' : ' of ' + {cel.quoted(account)})"


def _command(given: CompilerInput) -> str:
    """Return the expression of the command for a token of the Secret's account."""
    commands = []
    for settings in given.scopes.settings.values():
        namespace_policy = NamespacePolicy(settings, given.policy.api_server_token, (), ())
        context = TokenRequestContext(
            _ACCOUNT_NAME, _NAMESPACE_NAME, TokenRequest(), namespace_policy, given.api_audiences
        )
        commands.append(cel.string(create_token_command(context)))
    unknown = cel.string(UNKNOWN_ACCOUNT)
    account = f"(variables.account.matches('^[a-z0-9.-]{{1,100}}$') ? variables.account : {unknown})"
    command = given.scopes.value(commands)
    return (
        f"{command}.replace({cel.string(_ACCOUNT_NAME)}, {account})"
        f".replace({cel.string(_NAMESPACE_NAME)}, request.namespace)"
    )


def _checks(given: CompilerInput) -> Iterator[ExportedCheck]:
    own, old = "variables.account", "variables.accountBefore"
    to_token = "/data/token"  # noqa: S105 - a pointer
    to_account, to_uid = (
        f"/metadata/annotations/{escape(name)}" for name in (LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_ACCOUNT_UID)
    )
    changed = "variables.isLegacy && variables.isUpdate"
    same = f"{changed} && {own} == {old}"
    is_set = "variables.containsToken && variables.token != variables.tokenBefore"
    for pointer, detail, accounts, condition in (
        ("/type", rule.REQUESTS, (own,), "variables.isLegacy && !variables.isUpdate"),
        (to_account, rule.ACCOUNT_CHANGED, (own, old), f"{changed} && {own} != {old}"),
        (
            to_uid,
            rule.UID_CHANGED,
            (own,),
            f"{same} && variables.uidBefore != '' && variables.uid != variables.uidBefore",
        ),
        (to_token, rule.REMOVED, (own,), f"{changed} && variables.tokenBefore != '' && variables.token == ''"),
        (to_token, rule.SET, None, f"{changed} && variables.tokenBefore != '' && {is_set}"),
        (to_token, rule.CONTAINS, None, f"!variables.isLegacy && {is_set}"),
    ):
        yield _check(given, Violation(pointer, detail, rule.HINT), accounts, condition)
    is_revived = "variables.invalidBefore != '' && variables.invalid == ''"
    revived = Violation(f"/metadata/labels/{escape(INVALID_SINCE)}", rule.REVIVED, rule.KEEP_LABEL)
    yield _check(given, revived, (own,), f"variables.isLegacy && {is_revived}")
    yield _check(given, revived, None, f"!variables.isLegacy && variables.containsToken && {is_revived}")


def _check(given: CompilerInput, violation: Violation, accounts: Sequence[str] | None, condition: str) -> ExportedCheck:
    values = {
        "path": cel.string(json_path(violation.pointer)),
        "account": _account("variables.account") if accounts else cel.string(""),
        "old": cel.quoted("variables.accountBefore"),
        "new": cel.quoted("variables.account"),
        "command": _command(given),
    }
    lines = cel.once(condition)
    return ExportedCheck(violation, values, lines, lines, accounts)
