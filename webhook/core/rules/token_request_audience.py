"""token-request-audience: a requested token is issued for an allowed audience."""

from collections.abc import Iterator

from webhook.core.audiences import audience_hint
from webhook.core.decision import MAX_LINES, Violation
from webhook.core.formatting import quote
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action
from webhook.core.rule import Rule
from webhook.core.token_context import TokenRequestContext

NOT_ALLOWED = "is {audience}, which is not allowed"


def check(context: TokenRequestContext) -> Iterator[Violation]:
    """Find the audiences that are neither allowed nor the API server's."""
    allowed = context.namespace_policy.tokens.audiences.allowed
    denied = 0
    for number, audience in enumerate(context.token_request.spec.audiences or ()):
        hint = audience_hint(audience, allowed, context.api_audiences, guess=denied < MAX_LINES, in_full=True)
        if hint:
            denied += 1
            yield Violation(
                f"/spec/audiences/{number}",
                NOT_ALLOWED.format(audience=quote(audience)),
                hint=f"{hint}, or none for the API server",
            )


RULE: Rule = Rule(
    name="token-request-audience",
    summary="a token is requested for an audience that is not allowed and is not the API server's own",
    explanation="""\
The audience of a token says who may accept it. The policy lists the services that tokens of this cluster are for.

What to do: request an audience in `tokens.audiences.allowed`, or none: then the token is for the API server. The API
server's own audiences are those in `apiServerToken.audiences`, or else those of tokenguard's own token.""",
    subjects=frozenset({Subject.TOKEN_REQUEST}),
    default=Action.REJECT,
    check=check,
)
