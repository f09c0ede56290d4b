"""token-request-expiration: a requested token is valid no longer than the policy's maximum."""

from collections.abc import Iterator

from webhook.core.decision import Violation
from webhook.core.kinds import Subject
from webhook.core.kubectl_hint import create_token_command
from webhook.core.policy.model import Action
from webhook.core.rule import Rule
from webhook.core.token_context import TokenRequestContext

EXCEEDS = "requests lifetime {lifetime}s{year}, exceeding the maximum {maximum}s"
YEAR_NOTE = " (Kubernetes extends 3607s to a year for a pod)"


def check(context: TokenRequestContext) -> Iterator[Violation]:
    """Find a request whose token would be valid longer than the maximum."""
    maximum = context.namespace_policy.tokens.max_request_lifetime
    lifetime = context.lifetime
    if lifetime > maximum:
        requested = context.token_request.spec.expiration_seconds
        year = YEAR_NOTE if lifetime != (requested or lifetime) else ""
        yield Violation(
            "/spec/expirationSeconds",
            EXCEEDS.format(lifetime=lifetime, year=year, maximum=maximum),
            hint=f"run: {create_token_command(context)}",
        )


RULE: Rule = Rule(
    name="token-request-expiration",
    summary="a requested token would be valid longer than tokens.maxRequestExpirationSeconds",
    explanation="""\
Nobody refreshes a token that is requested by hand (`kubectl create token`, the TokenRequest API). It ends up in
terminals, scripts and CI variables, and cannot be revoked before it expires unless it is bound to an object.

What to do: request at most the maximum, and request a new token when it expires. The maximum is
`tokens.maxRequestExpirationSeconds`, or `tokens.maxExpirationSeconds` if that isn't set.""",
    subjects=frozenset({Subject.TOKEN_REQUEST}),
    default=Action.REJECT,
    check=check,
)
