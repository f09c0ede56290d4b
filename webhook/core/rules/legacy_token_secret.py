"""legacy-token-secret: no Secret creates, renews or revives a token that never expires."""

from collections.abc import Iterator

from webhook.core.decision import Violation
from webhook.core.formatting import quote
from webhook.core.json_patch import escape
from webhook.core.kinds import Subject
from webhook.core.kubectl_hint import create_token_command
from webhook.core.policy.model import Action
from webhook.core.rule import Rule
from webhook.core.secret_content import ReviewedSecret
from webhook.core.token_context import SecretContext
from webhook.core.token_objects import INVALID_SINCE, LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_ACCOUNT_UID

REQUESTS = "requests a token{account} that never expires"
CONTAINS = "contains a token{account} that never expires"
SET = "is set to a token{account} that never expires"
_ISSUES = "so Kubernetes issues a token{account} that never expires"
REMOVED = f"is removed, {_ISSUES}"
ACCOUNT_CHANGED = f"is changed from {{old}} to {{new}}, {_ISSUES.format(account=' of the latter')}"
UID_CHANGED = "is changed or removed, so a new ServiceAccount of the same name gets a token in this Secret"
REVIVED = "is removed, so the token{account}, which never expires, becomes valid again"
KEEP_LABEL = "keep the label, or add an exemption with an end date"
HINT = "project a token into the pod, add an exemption with an end date, or run: {command}"


def check(context: SecretContext) -> Iterator[Violation]:
    """Find a new Secret, or an update of one, that gives a token that never expires."""
    secret, old = context.secret, context.old
    if not secret.is_legacy:
        if secret.token_changed:
            yield _contains_token(context, CONTAINS.format(account=_account(context.account)))
    elif old is None or not old.is_legacy:
        yield _violation(context, "/type", REQUESTS.format(account=_account(context.account)))
        if secret.legacy_token and not _is_own(context):
            yield _is_set(context)  # the token controller leaves it there, whatever the annotation says
    else:
        yield from _legacy_update(context, secret, old)
    if context.revives_token:
        yield Violation(
            _pointer("labels", INVALID_SINCE),
            REVIVED.format(account=_account(context.token_account)),
            KEEP_LABEL,
            other_account=context.other_account,
        )


def _legacy_update(context: SecretContext, secret: ReviewedSecret, old: ReviewedSecret) -> Iterator[Violation]:
    """Find the updates of a legacy Secret that lead to another token in it.

    The token controller issues one wherever there is none, for the account and uid that the annotations name.
    """
    if secret.account != old.account:
        yield _violation(
            context,
            _pointer("annotations", LEGACY_TOKEN_ACCOUNT),
            ACCOUNT_CHANGED.format(old=quote(old.account), new=quote(secret.account)),
            other_account=old.account,
        )
    elif (uid := _uid(old)) and uid != _uid(secret):
        yield _violation(context, _pointer("annotations", LEGACY_TOKEN_ACCOUNT_UID), UID_CHANGED)
    if old.has_token and not secret.has_token:
        yield _violation(context, secret.token_pointer, REMOVED.format(account=_account(secret.account)))
    elif secret.token_changed and secret.legacy_token and (old.has_token or not _is_own(context)):
        yield _is_set(context)


def _is_own(context: SecretContext) -> bool:
    """Return whether the token is the one that the token controller would fill the Secret with, for any user."""
    token = context.secret.legacy_token
    return token is not None and (token.namespace, token.account, token.secret) == (
        context.namespace,
        context.account,
        context.name,
    )


def _is_set(context: SecretContext) -> Violation:
    detail = SET.format(account=_account(context.token_account))
    return _contains_token(context, detail, other_account=context.other_account)


def _contains_token(context: SecretContext, detail: str, other_account: str | None = None) -> Violation:
    token = context.secret.legacy_token
    if token and (token.namespace, token.secret) == (context.namespace, context.name):
        detail += ", and makes it valid"
    return _violation(context, context.secret.token_pointer, detail, other_account)


def _violation(context: SecretContext, pointer: str, detail: str, other_account: str | None = None) -> Violation:
    command = create_token_command(context.token_request)
    return Violation(pointer, detail, HINT.format(command=command), other_account=other_account)


def _account(name: str) -> str:
    """Return whose token it is; empty if that is unknown."""
    return f" of {quote(name)}" if name.strip("/") else ""


def _uid(secret: ReviewedSecret) -> str:
    return secret.metadata.annotation(LEGACY_TOKEN_ACCOUNT_UID)


def _pointer(part: str, key: str) -> str:
    return f"/metadata/{part}/{escape(key)}"


RULE: Rule = Rule(
    name="legacy-token-secret",
    summary="creating or changing a Secret makes Kubernetes issue a token that never expires, or revives a token that"
    " was invalid",
    explanation="""\
Kubernetes fills a Secret of type kubernetes.io/service-account-token with a token that never expires, and anyone who
may read the Secret can use it. The rule denies creating such a Secret. It also denies the updates after which
Kubernetes issues another token: those that change or remove its annotation `kubernetes.io/service-account.name` or
`kubernetes.io/service-account.uid`, or remove its token.

A token is valid as long as a Secret with its original name, of any type, contains it under the key `token`. So it is
not enough to delete the Secret: anyone who has a copy of the token can create an Opaque Secret of that name, and the
token is valid again. The rule denies this too: it denies every Secret with a legacy token under the key `token`.

To make a token invalid permanently, delete its ServiceAccount (a new one of the same name does not make it valid), or
rotate the key that signs tokens. If you keep the Secret, set the label kubernetes.io/legacy-token-invalid-since to a
date (`tokenguard legacy disable` does): its token is invalid as long as the label exists. The rule denies
removing the label. An update that does none of this is not evaluated.

What to do: in a pod, project a `serviceAccountToken`; by hand, run `kubectl create token NAME --duration=1h`; for a
system outside the cluster, use another way to authenticate (OIDC, a client certificate). If a controller still needs
such Secrets, write an exemption for its user, with a reason and an end date. If the exemption selects by
`serviceAccounts`, an update that changes the Secret's account is exempt only if both accounts are listed.""",
    subjects=frozenset({Subject.SECRET}),
    default=Action.REJECT,
    check=check,
)
