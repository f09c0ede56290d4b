"""The kubectl command for a token that the policy lets be issued: what a person who was refused runs next."""

import shlex
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from webhook.core import lifetimes
from webhook.core.audiences import is_allowed
from webhook.core.k8s_names import is_dns_label, is_dns_subdomain, is_kind
from webhook.core.policy.model import Action
from webhook.core.token_context import TokenRequestContext
from webhook.core.token_objects import TokenRequest

_HEEDED = frozenset({Action.REJECT, Action.WARN})
_AUDIENCE = "AUDIENCE"
_MOST_AUDIENCES = 10
_LONGEST = 100


def create_token(context: TokenRequestContext, *, bind: bool = False) -> str:
    """Return the command for what is asked for, less what the policy refuses or warns of.

    `bind` says to bind the token to something, whether the policy wants it or not. What isn't known, or doesn't fit
    into a line, is a word in capitals for the reader to fill in.
    """
    context = _for_allowed_audiences(context)
    words = ["kubectl create token", _valid(context.account, is_dns_subdomain, "NAME")]
    if context.namespace:
        words += ["-n", _valid(context.namespace, is_dns_label, "NAMESPACE")]
    words.append(f"--duration={_duration(_seconds(context))}")
    words += (f"--audience={audience}" for audience in _audiences(context))
    words += _binding(context, bind=bind or _heeds(context, "token-request-binding"))
    return " ".join(words)


def _heeds(context: TokenRequestContext, rule: str) -> bool:
    return context.namespace_policy.rules[rule] in _HEEDED


def _for_allowed_audiences(context: TokenRequestContext) -> TokenRequestContext:
    """Return the request without the audiences that are refused, which may leave it to the API server alone."""
    asked = context.token_request.spec.audiences or []
    allowed = context.namespace_policy.tokens.audiences.allowed
    kept = []
    if len(asked) <= _MOST_AUDIENCES:  # more don't fit into a line
        kept = [audience for audience in asked if is_allowed(audience, allowed, context.api_audiences)]
    if len(kept) == len(asked) or not _heeds(context, "token-request-audience"):
        return context
    spec = replace(context.token_request.spec, audiences=kept or [_AUDIENCE])
    return replace(context, token_request=TokenRequest(given_spec=spec))


def _seconds(context: TokenRequestContext) -> int:
    asked = context.token_request.spec.expiration_seconds
    if context.lifetime <= context.namespace_policy.tokens.max_request_lifetime or not _heeds(
        context, "token-request-expiration"
    ):
        return asked or lifetimes.DEFAULT_EXPIRATION
    return context.capped


def _audiences(context: TokenRequestContext) -> Iterator[str]:
    asked = context.token_request.spec.audiences or ()
    if all(audience in context.api_audiences for audience in asked):
        return  # what one gets who names none
    if len(asked) > _MOST_AUDIENCES:
        yield _AUDIENCE
    else:
        yield from (_word(audience, _AUDIENCE) for audience in asked)


def _binding(context: TokenRequestContext, *, bind: bool) -> Iterator[str]:
    bound = context.token_request.spec.bound_object_ref
    if bound is not None:
        yield f"--bound-object-kind={_valid(bound.kind, is_kind, 'KIND')}"
        yield f"--bound-object-name={_valid(bound.name, is_dns_subdomain, 'NAME')}"
    elif bind:
        # of the kinds there are, the one that a person can make for the purpose and delete again
        yield "--bound-object-kind=Secret"
        yield "--bound-object-name=NAME"


def _valid(value: str | None, is_valid: Callable[[str], bool], otherwise: str) -> str:
    return value if value and len(value) <= _LONGEST and is_valid(value) else otherwise


def _word(value: str | None, otherwise: str) -> str:
    return shlex.quote(value) if value and value.isprintable() and len(value) <= _LONGEST else otherwise


def _duration(seconds: int) -> str:
    """Return a duration as kubectl takes it, in the largest unit that leaves nothing over."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
