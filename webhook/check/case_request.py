"""The request of a test case, with values that the API server sends: any other makes a case that tests nothing."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import UNSET, Meta

from webhook.core.documents.document import Path
from webhook.core.formatting import did_you_mean, quote
from webhook.core.policy.schema import Maybe, Section, given

_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*"
_OPERATIONS = ("CREATE", "UPDATE", "DELETE", "CONNECT")
_SUBRESOURCES = (
    "approval", "attach", "binding", "ephemeralcontainers", "eviction", "exec", "finalize", "log", "portforward",
    "proxy", "resize", "scale", "status", "token",
)  # fmt: skip
"""Those of Kubernetes' own resources (https://kubernetes.io/docs/reference/using-api/api-concepts/)."""
_GROUPS = (
    "system:authenticated", "system:bootstrappers", "system:masters", "system:monitoring", "system:nodes",
    "system:serviceaccounts", "system:unauthenticated",
)  # fmt: skip
"""The groups that Kubernetes itself gives to users."""

Namespace = Annotated[str, Meta(pattern=_LABEL, extra={"form": "the name of a namespace"})]
_AnyNamespace = Annotated[
    str, Meta(pattern=f"({_LABEL})?", extra={"form": 'the name of a namespace, or "" for an object without one'})
]


class RequestSettings(Section):
    """The request about the object, and who sends it."""

    namespace: Maybe[_AnyNamespace] = UNSET
    name: Maybe[Annotated[str, Meta(pattern=_SUBDOMAIN, extra={"form": "the name of an object"})]] = UNSET
    user: Maybe[
        Annotated[
            str,
            Meta(
                pattern=rf"(?!system:(serviceaccount|node):)[\s\S]+|system:node:{_SUBDOMAIN}"
                rf"|system:serviceaccount:{_LABEL}:{_SUBDOMAIN}",
                extra={"form": "the name of a user, such as system:serviceaccount:NAMESPACE:NAME or system:node:NAME"},
            ),
        ]
    ] = UNSET
    groups: Maybe[tuple[Annotated[str, Meta(pattern=r"[\s\S]+", extra={"form": "the name of a group"})], ...]] = UNSET
    operation: Maybe[Annotated[str, Meta(extra={"form": "invalid operation", "words": _OPERATIONS})]] = UNSET
    subresource: Maybe[Annotated[str, Meta(extra={"form": "unknown subresource", "words": _SUBRESOURCES})]] = UNSET


def request_mistakes(request: RequestSettings) -> Iterator[tuple[Path, str]]:
    """Yield each group of Kubernetes that is misspelt."""
    for number, group in enumerate(given(request.groups, ())):
        is_known = not group.startswith("system:") or any(f"{group}:".startswith(f"{known}:") for known in _GROUPS)
        if not is_known and (hint := did_you_mean(group, _GROUPS)):
            yield ("request", "groups", number), f"unknown group {quote(group)}{hint}"
