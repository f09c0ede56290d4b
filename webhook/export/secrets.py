"""The rule `legacy-token-secret`."""

import base64
import itertools
from collections.abc import Callable, Iterator, Sequence

from webhook.core.decision import Violation
from webhook.core.json_patch import escape, json_path
from webhook.core.kinds import Subject
from webhook.core.kubectl_hint import create_token_command
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
from webhook.export.check import Check, Input, RuleChecks
from webhook.export.scopes import Variables

_MAX_TEXT = 65536
"""The longest text, in base64, in which a token is looked for: the cost of the search grows with the text."""
_FIRST_LETTERS = ("Z", "e", "C", "D", "I", "w", "4")
"""The first letter, in base64, of an `e`, of white space and of a brace: every token begins with one of them."""
_ACCOUNT_NAME, _NAMESPACE_NAME = "tokenguard-account", "tokenguard-namespace"
_GAPS = (
    "partly expressed: a token is recognized by its claim, so what only contains that text is denied, too, and a text of"
    f" more than {_MAX_TEXT} characters of base64, or with a line break within the claim, is let in",
    "partly expressed: an exemption by serviceAccounts does not cover the token in a Secret, whose account CEL cannot read",
    "partly expressed: a token is let into a Secret of the legacy type that has none, because the token controller may do"
    " that under any name",
    "partly expressed: an update has no time except that of the last change of a field, so an exemption that has ended may"
    " still cover one that only removes fields",
)  # fmt: skip


def rules(given: Input) -> Iterator[RuleChecks]:
    """Yield the rule."""
    yield RuleChecks(rule.RULE.name, Subject.SECRET, tuple(_checks(given)), tuple(_variables()), _GAPS)


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
    found = []
    for shift, inner in itertools.product(range(3), repeat=2):
        payload = _core(base64.urlsafe_b64encode(b"\0" * shift + ISSUER_CLAIM), shift, len(ISSUER_CLAIM))
        found.append(_core(base64.b64encode(b"\0" * inner + payload), inner, len(payload)).decode())
    return tuple(found)


def _core(encoded: bytes, shift: int, length: int) -> bytes:
    """Return the part of an encoded text that depends on the text alone, not on what is before and after it."""
    return encoded[-(-shift * 8 // 6) : (shift + length) * 8 // 6]


def _account(account: str) -> str:
    """Return an account's name for a message."""
    unknown = cel.string(rule.A_SERVICE_ACCOUNT)
    return f"({account}.matches('^/*$') ? {unknown} : {cel.quoted(account)})"


def _command(given: Input) -> str:
    """Return the expression of the command for a token of the Secret's account."""
    commands = []
    for settings in given.scopes.settings.values():
        namespace_policy = NamespacePolicy(settings, given.policy.api_server_token, (), ())
        context = TokenRequestContext(
            _ACCOUNT_NAME, _NAMESPACE_NAME, TokenRequest(), namespace_policy, given.api_audiences
        )
        commands.append(cel.string(create_token_command(context)))
    account = "(variables.account.matches('^[a-z0-9.-]{1,100}$') ? variables.account : 'NAME')"
    command = given.scopes.value(commands)
    return (
        f"{command}.replace({cel.string(_ACCOUNT_NAME)}, {account})"
        f".replace({cel.string(_NAMESPACE_NAME)}, request.namespace)"
    )


def _checks(given: Input) -> Iterator[Check]:
    own, old = "variables.account", "variables.accountBefore"
    pointer_to_token = "/data/token"  # noqa: S105 - a pointer
    to_account, to_uid = (
        f"/metadata/annotations/{escape(name)}" for name in (LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_ACCOUNT_UID)
    )
    changed = "variables.isLegacy && variables.isUpdate"
    is_set = "variables.containsToken && variables.token != variables.tokenBefore"
    yield _check(given, "/type", rule.REQUESTS, "variables.isLegacy && !variables.isUpdate", (own,))
    yield _check(given, to_account, rule.ACCOUNT_CHANGED, f"{changed} && {own} != {old}", (own, old))
    same = f"{changed} && {own} == {old}"
    uid_changed = f"{same} && variables.uidBefore != '' && variables.uid != variables.uidBefore"
    yield _check(given, to_uid, rule.UID_CHANGED, uid_changed, (own,))
    removed = f"{changed} && variables.tokenBefore != '' && variables.token == ''"
    yield _check(given, pointer_to_token, rule.REMOVED, removed, (own,))
    yield _check(given, pointer_to_token, rule.SET, f"{changed} && variables.tokenBefore != '' && {is_set}", None)
    yield _check(given, pointer_to_token, rule.CONTAINS, f"!variables.isLegacy && {is_set}", None)
    for accounts, condition in (
        ((own,), "variables.isLegacy"),
        (None, "!variables.isLegacy && variables.containsToken"),
    ):
        revived = f"{condition} && variables.invalidBefore != '' && variables.invalid == ''"
        pointer = f"/metadata/labels/{escape(INVALID_SINCE)}"
        yield _check(given, pointer, rule.REVIVED, revived, accounts, rule.KEEP_LABEL)


def _check(
    given: Input, pointer: str, detail: str, condition: str, accounts: Sequence[str] | None, hint: str = rule.HINT
) -> Check:
    account = _account("variables.account") if accounts else cel.string(rule.A_SERVICE_ACCOUNT)
    values = {
        "path": cel.string(json_path(pointer)),
        "account": account,
        "old": cel.quoted("variables.accountBefore"),
        "new": cel.quoted("variables.account"),
        "command": _command(given),
    }
    lines = _once(condition)
    return Check(Violation("", detail, hint), values, lines, lines, accounts)


def _once(condition: str) -> Callable[[str], str]:
    return lambda line: f"{condition} ? [{line}] : {cel.NO_LINES}"
