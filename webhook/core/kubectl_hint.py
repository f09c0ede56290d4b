"""The kubectl command for a token that the policy allows: what somebody whose request was denied runs instead."""

import shlex
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from webhook.core import lifetimes
from webhook.core.audiences import is_allowed
from webhook.core.k8s_names import is_dns_label, is_dns_subdomain, is_kind
from webhook.core.policy.model import Action
from webhook.core.token_context import TokenRequestContext
from webhook.core.token_objects import TokenRequest

UNKNOWN_ACCOUNT = "SERVICE_ACCOUNT_NAME"
"""In place of an account that is unknown."""
_AUDIENCE = "AUDIENCE"
_MAX_AUDIENCES = 10
_MAX_LENGTH = 100


def create_token_command(context: TokenRequestContext, *, bind: bool = False) -> str:
    """Return the command for what is requested, without what the policy denies or warns about.

    `bind` binds the token to an object even if the policy doesn't require that. A value that is unknown, or doesn't
    fit into a line, is a word in capitals for the reader to replace.
    """
    context = _with_allowed_audiences(context)
    words = ["kubectl create token", _valid(context.account, is_dns_subdomain, UNKNOWN_ACCOUNT)]
    if context.namespace:
        words += ["-n", _valid(context.namespace, is_dns_label, "NAMESPACE")]
    words.append(f"--duration={_duration(_seconds(context))}")
    words += (f"--audience={audience}" for audience in _audiences(context))
    words += _binding(context, bind=bind or _is_checked(context, "token-request-binding"))
    return " ".join(words)


def _is_checked(context: TokenRequestContext, rule: str) -> bool:
    return context.namespace_policy.rules[rule] in (Action.REJECT, Action.WARN)


def _with_allowed_audiences(context: TokenRequestContext) -> TokenRequestContext:
    """Return the request without audiences that are not allowed; without any, it is for the API server alone."""
    spec = context.token_request.spec
    requested = spec.audiences or []
    allowed = context.namespace_policy.tokens.audiences.allowed
    remaining = []
    if len(requested) <= _MAX_AUDIENCES:  # more don't fit into a line
        remaining = [audience for audience in requested if is_allowed(audience, allowed, context.api_audiences)]
    if len(remaining) == len(requested) or not _is_checked(context, "token-request-audience"):
        return context
    return replace(context, token_request=TokenRequest(given_spec=replace(spec, audiences=remaining or [_AUDIENCE])))


def _seconds(context: TokenRequestContext) -> int:
    is_allowed_lifetime = context.lifetime <= context.namespace_policy.tokens.max_request_lifetime
    if is_allowed_lifetime or not _is_checked(context, "token-request-expiration"):
        return context.token_request.spec.expiration_seconds or lifetimes.DEFAULT_EXPIRATION
    return context.max_expiration


def _audiences(context: TokenRequestContext) -> Iterator[str]:
    requested = context.token_request.spec.audiences or ()
    if all(audience in context.api_audiences for audience in requested):
        return  # the default
    if len(requested) > _MAX_AUDIENCES:
        yield _AUDIENCE
        return
    for audience in requested:
        fits = audience and audience.isprintable() and len(audience) <= _MAX_LENGTH
        yield shlex.quote(audience) if fits else _AUDIENCE


def _binding(context: TokenRequestContext, *, bind: bool) -> Iterator[str]:
    bound = context.token_request.spec.bound_object_ref
    if bound is not None:
        yield f"--bound-object-kind={_valid(bound.kind, is_kind, 'KIND')}"
        yield f"--bound-object-name={_valid(bound.name, is_dns_subdomain, 'NAME')}"
    elif bind:
        # of the kinds there are, the one that a person can create for the purpose and delete again
        yield "--bound-object-kind=Secret"
        yield "--bound-object-name=NAME"


def _valid(value: str | None, is_valid: Callable[[str], bool], placeholder: str) -> str:
    return value if value and len(value) <= _MAX_LENGTH and is_valid(value) else placeholder


def _duration(seconds: int) -> str:
    """Return a duration as kubectl accepts it, in the largest unit that divides it."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
