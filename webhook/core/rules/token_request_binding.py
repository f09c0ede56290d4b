"""token-request-binding: a requested token is bound to an object."""

from collections.abc import Iterator

from webhook.core.decision import Violation
from webhook.core.kinds import Subject
from webhook.core.kubectl_hint import create_token_command
from webhook.core.policy.model import Action
from webhook.core.rule import Rule
from webhook.core.token_context import TokenRequestContext

UNBOUND = "requests an unbound token, which cannot be revoked before it expires"


def check(context: TokenRequestContext) -> Iterator[Violation]:
    """Find a request for an unbound token."""
    if context.token_request.spec.bound_object_ref is None:
        yield Violation(
            "/spec",
            UNBOUND,
            hint=f"run: {create_token_command(context, bind=True)}",
        )


RULE: Rule = Rule(
    name="token-request-binding",
    summary="a requested token is not bound to an object",
    explanation="""\
A token that is bound to a Pod, Secret or Node is invalid as soon as that object is deleted. Nothing else revokes a
single token before it expires.

What to do: `kubectl create token NAME --bound-object-kind=Secret --bound-object-name=OBJECT`, and delete the object
when the token is no longer needed. Any Secret will do, even an empty one that you create for this purpose; a Pod must
run as this account.""",
    subjects=frozenset({Subject.TOKEN_REQUEST}),
    default=Action.AUDIT,
    optional_actions=(Action.REJECT,),
    check=check,
)
