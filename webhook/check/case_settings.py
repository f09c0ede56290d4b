"""The keys of a test case, and which values they have; for a request those that the API server sends."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from webhook.check.other_findings import UNREADABLE_OBJECT
from webhook.core.decision import INVALID_POLICY, Outcome
from webhook.core.documents.document import Path
from webhook.core.formatting import did_you_mean, quote
from webhook.core.policy.model import Action
from webhook.core.policy.schema import Maybe, PolicyDocument, Section, given
from webhook.core.rules import BY_NAME

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

CASE_ONLY = ("object", "old", "decision", "findings", "patched", "says", "exempted")
"""The keys that only a case has; settings for several cases may have the others."""
RULE_NAMES = frozenset({*BY_NAME, INVALID_POLICY, UNREADABLE_OBJECT})


def _words(form: str, words: tuple[str, ...]) -> Meta:
    return Meta(extra_json_schema={"enum": list(words)}, extra={"form": form, "words": words})


def _about(description: str, *, form: str = "", **schema: Any) -> Meta:
    return Meta(description=description, extra_json_schema=schema, extra={"form": form} if form else None)


_Text = Annotated[str, Meta(extra={"form": "text"}, pattern=r"[\s\S]*")]
_Texts = tuple[_Text, ...]
_Object = Annotated[Any, Meta(extra_json_schema={"type": ["object", "string"]})]
Namespace = Annotated[str, Meta(pattern=f"^{_LABEL}$", extra={"form": "the name of a namespace"})]
_AnyNamespace = Annotated[
    str, Meta(pattern=f"^({_LABEL})?$", extra={"form": 'the name of a namespace, or "" for an object without one'})
]


class RequestSettings(Section):
    """The request about the object, and who sends it."""

    namespace: Maybe[_AnyNamespace] = UNSET
    name: Maybe[Annotated[str, Meta(pattern=f"^{_SUBDOMAIN}$", extra={"form": "the name of an object"})]] = UNSET
    user: Maybe[
        Annotated[
            str,
            Meta(
                pattern=rf"^((?!system:(serviceaccount|node):)[\s\S]+|system:node:{_SUBDOMAIN}"
                rf"|system:serviceaccount:{_LABEL}:{_SUBDOMAIN})$",
                extra={"form": "the name of a user, such as system:serviceaccount:NAMESPACE:NAME or system:node:NAME"},
            ),
        ]
    ] = UNSET
    groups: Maybe[tuple[Annotated[str, Meta(pattern=r"[\s\S]+", extra={"form": "the name of a group"})], ...]] = UNSET
    operation: Maybe[Annotated[str, _words("invalid operation", _OPERATIONS)]] = UNSET
    subresource: Maybe[Annotated[str, _words("unknown subresource", _SUBRESOURCES)]] = UNSET


class CaseSettings(Section, kw_only=True):
    """A case, or settings for several. A policy and objects can be the names of files."""

    case: Annotated[_Text, _about("What the case shows.")]
    policy: Annotated[Any, _about("The policy, or its file; default: that of --policy.")] = UNSET
    cluster: Annotated[
        Maybe[tuple[_Object, ...]], _about("Secrets, Namespaces and ServiceAccounts, or their files.")
    ] = UNSET
    object: Annotated[_Object, _about("The object, FILE, or FILE#KIND/NAME; without a kind it is a Pod.")]
    old: Annotated[_Object, _about("In an update, the object before it.")] = UNSET
    request: Annotated[Maybe[RequestSettings], _about("The request about the object, and who sends it.")] = UNSET
    now: Annotated[Maybe[_Text], _about("The date or time, for exemptions; default: now.")] = UNSET
    api_audiences: Annotated[Maybe[_Texts], _about("The API server's audiences.")] = UNSET
    own_namespace: Annotated[Maybe[Namespace], _about("The namespace that tokenguard is installed in.")] = UNSET
    api_token: Annotated[Maybe[bool], _about("Whether the pod has the token that Kubernetes mounts by itself.")] = UNSET
    decision: Annotated[Maybe[Outcome], _about("The expected decision; default: allowed.", form="invalid decision")] = (
        UNSET
    )
    findings: Annotated[
        Maybe[dict[str, Annotated[Action, Meta(extra={"form": "invalid action"})]]],
        _about(
            "All rules that find something, each with its action in effect.", propertyNames={"enum": sorted(RULE_NAMES)}
        ),
    ] = UNSET
    patched: Annotated[Maybe[dict[str, Any]], _about("The object after the patch.")] = UNSET
    says: Annotated[Maybe[_Texts], _about("Texts that the webhook's messages contain; []: there are none.")] = UNSET
    exempted: Annotated[Maybe[_Texts], _about("Texts that the exemptions in use contain; []: none is in use.")] = UNSET


def case_schema() -> dict[str, Any]:
    """Return the documents of a file with test cases as JSON Schema 2020-12, for editors."""
    _, components = msgspec.json.schema_components([CaseSettings, PolicyDocument], ref_template="#/$defs/{name}")
    case = components.pop(CaseSettings.__name__)
    components[PolicyDocument.__name__] |= {"required": []}
    case["properties"]["policy"] |= {"anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{PolicyDocument.__name__}"}]}
    own = [{"required": [key]} for key in ("case", *CASE_ONLY)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **case,
        "title": "tokenguard policy test case",
        "required": [],
        "anyOf": [{"required": case["required"]}, {"not": {"anyOf": own}}],
        "patternProperties": {"^x-": {}},
        "$defs": components,
    }


def request_mistakes(request: RequestSettings) -> Iterator[tuple[Path, str]]:
    """Yield each group of Kubernetes that is misspelt."""
    for number, group in enumerate(given(request.groups, ())):
        is_known = not group.startswith("system:") or any(f"{group}:".startswith(f"{known}:") for known in _GROUPS)
        if not is_known and (hint := did_you_mean(group, _GROUPS)):
            yield ("request", "groups", number), f"unknown group {quote(group)}{hint}"
