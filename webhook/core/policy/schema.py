"""Every key of a policy document: its type, its limits, its default and its description."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from webhook.core.documents.document import Path
from webhook.core.formatting import quote
from webhook.core.lifetimes import MAX_EXPIRATION, MIN_EXPIRATION
from webhook.core.policy.model import KUBELET_ROOT_DIRS, Mode
from webhook.core.rule import Rule
from webhook.core.rules import BY_NAME, RULES

API_VERSION = "tokenguard/v1"
KIND = "TokenPolicy"
_OVERRIDDEN = ("mode", "rules", "tokens")

T = TypeVar("T")
Maybe: TypeAlias = T | UnsetType
"""The type of a key that may be absent. A section, which is a map or a list, may also be null: it counts as absent."""
Nullable: TypeAlias = T | UnsetType | None
"""The type of a key for which null is a value."""


def given(value: Nullable[T], default: T) -> T:
    """Return the value of a key, or a default if it is absent or null."""
    return default if value is None or isinstance(value, UnsetType) else value


def _about(description: str, *, form: str = "", **schema: Any) -> Meta:
    """Describe a key; `form` is what an error calls its value."""
    return Meta(description=description, extra_json_schema=schema or None, extra={"form": form} if form else None)


def _text(form: str, pattern: str, max_length: int | None = None) -> Meta:
    """Restrict a text to a pattern, of Python and of JSON Schema, that matches all of it; `form` says it in words."""
    return Meta(pattern=f"^{pattern}$", max_length=max_length, extra={"form": form})


_MAX_FEW, _MAX_SOME, _MAX_MANY = Meta(max_length=100), Meta(max_length=1_000), Meta(max_length=10_000)
"""How long a list may be: fewer entries where a review looks at each, more where it finds what it needs by an index."""
_DNS_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
Lifetime = Annotated[int, Meta(ge=MIN_EXPIRATION, le=MAX_EXPIRATION)]
Namespaces = Annotated[tuple[Annotated[str, _text("the name or glob of a namespace", r"[^/\s]+")], ...], _MAX_MANY]
Accounts = Annotated[
    tuple[Annotated[str, _text("a ServiceAccount as name or namespace/name", r"[^/\s]+(/[^/\s]+)?")], ...], _MAX_MANY
]
Labels = dict[str, Annotated[str, _text("the exact value of a label", r"[^*\s]*")]]
Audience = Annotated[str, _text("an audience", r"\S+")]
ExactAudience = Annotated[str, _text("an audience without *", r"[^\s*]+")]


_TEMPLATE_POINTER = r"(?!/metadata(/|$))(?!.*/(\d+|-)(/|$))(/([^/~\s*\[\]]|~[01])+){1,20}"
"""What a policy can name as the pod template of a custom kind."""

_RULES = ["*", *BY_NAME]
_RULE = Meta(extra_json_schema={"enum": _RULES}, extra={"form": "unknown rule", "words": _RULES})


class Section(Struct, rename="camel", forbid_unknown_fields=True):
    """A map with known keys."""


class AudienceSettings(Section):
    """Audiences of tokens."""

    required: Annotated[
        Maybe[bool], _about("Whether a token that a pod's author projects must name its audience.", default=True)
    ] = UNSET
    default: Annotated[
        Nullable[Audience], _about("Audience to patch into a token that names none; it must be allowed.", default=None)
    ] = UNSET
    allowed: Annotated[
        Maybe[Annotated[tuple[Audience, ...], _MAX_MANY]],
        _about(
            "Allowed audiences, exact or with *; empty: any. The API server's own are always allowed.",
            default=[],
        ),
    ] = UNSET


class TokenSettings(Section):
    """Limits for tokens."""

    max_expiration_seconds: Annotated[
        Maybe[Lifetime], _about("Maximum lifetime of a projected token, in seconds.", default=3600)
    ] = UNSET
    max_request_expiration_seconds: Annotated[
        Nullable[Lifetime],
        _about(
            "Maximum lifetime of a token requested through the TokenRequest API, in seconds; null: as projected ones.",
            default=None,
        ),
    ] = UNSET
    audiences: Annotated[Maybe[AudienceSettings], _about("Audiences that tokens are issued for.")] = UNSET


class ApiServerTokenSettings(Section):
    """The token that Kubernetes mounts by itself."""

    expiration: Annotated[
        Maybe[Literal["cap", "keep"]],
        _about(
            "cap: its lifetime is limited like that of others; keep: its 3607 seconds really mean a year.",
            form="invalid expiration",
            default="cap",
        ),
    ] = UNSET
    audiences: Annotated[
        Maybe[Annotated[tuple[ExactAudience, ...], _MAX_FEW]],
        _about("Audiences of the API server; empty: those of the webhook's own token.", default=[]),
    ] = UNSET


class MessageSettings(Section):
    """What is appended to denials and warnings, for authors who do not know tokenguard."""

    url: Annotated[
        Maybe[Annotated[str, _text("an http or https URL of at most 500 characters", r"(https?://[^\s]+)?", 500)]],
        _about("Page where they read on.", default=""),
    ] = UNSET
    contact: Annotated[
        Maybe[Annotated[str, _text("one line of at most 200 characters", r"[^\r\n]*", 200)]],
        _about("Whom they can ask, such as a channel or an address.", default=""),
    ] = UNSET


class WorkloadKind(Section):
    """A custom kind that creates pods."""

    api_group: Annotated[
        str,
        _about("API group of the kind, without a version."),
        _text("the API group of a custom kind, such as example.com", rf"{_DNS_LABEL}(\.{_DNS_LABEL})+", 253),
    ]
    kind: Annotated[str, _about("Name of the kind."), _text("a kind, such as Runner", "[A-Z][A-Za-z0-9]{0,62}")]
    template: Annotated[
        str,
        _about("JSON Pointer to the pod template, which has metadata and spec."),
        _text(
            "a JSON Pointer such as /spec/template, without list indexes or *",
            _TEMPLATE_POINTER,
            500,
        ),
    ]


class InjectionSettings(Section, kw_only=True):
    """A token that the policy mounts into pods; all given selectors must match."""

    name: Annotated[
        str,
        _about("Name of the injection; its volume is tokenguard-NAME."),
        _text("a DNS label of at most 52 characters", "[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?"),
    ]
    audience: Annotated[
        str, _about("Audience that the token is issued for."), _text("an audience without *", r"[^\s*]+")
    ]
    expiration_seconds: Annotated[
        Nullable[Lifetime], _about("Lifetime of the token in seconds; absent: the smaller of 3600 and the maximum.")
    ] = UNSET
    mount_path: Annotated[
        str,
        _about("Folder at which every container mounts the volume."),
        _text("an absolute path other than /, without : and ..", r"(?!.*(^|/)\.\.(/|$))(?![/.]*$)/[^:\s]*"),
    ]
    path: Annotated[
        Maybe[
            Annotated[
                str,
                _text(
                    "a relative path that does not start with ..",
                    r"(?!\.\.)(?!.*/\.\.(/|$))[^/:\s]([^:\s]*[^/:\s])?",
                ),
            ]
        ],
        _about("File name of the token below mountPath.", default="token"),
    ] = UNSET
    env: Annotated[
        Nullable[Annotated[str, _text("the name of a variable", "[A-Za-z_][A-Za-z0-9_]*")]],
        _about("Environment variable to set to the file's path in every container."),
    ] = UNSET
    on_request: Annotated[
        Maybe[bool], _about('true: only for pods annotated tokenguard/inject: "NAME,...".', default=False)
    ] = UNSET
    namespaces: Annotated[Maybe[Namespaces], _about("Only for pods of these namespaces.")] = UNSET
    namespace_labels: Annotated[Maybe[Labels], _about("Only for pods of namespaces with these labels.")] = UNSET
    service_accounts: Annotated[Maybe[Accounts], _about("Only for pods of these ServiceAccounts.")] = UNSET
    pod_labels: Annotated[Maybe[Labels], _about("Only for pods with these labels.")] = UNSET


def _action(rule: Rule) -> tuple[str, Any, Any]:
    """Return the field for the action of a rule."""
    words = [str(action) for action in rule.actions]
    schema = {"enum": [*words, False], "default": str(rule.default)}  # YAML 1.1 reads `off` as false
    meta = Meta(
        description=f"Action if {rule.summary}.",
        extra_json_schema=schema,
        extra={"form": "invalid action", "words": words},
    )
    return rule.name.replace("-", "_"), Annotated[Any, meta], msgspec.field(default=UNSET, name=rule.name)


if TYPE_CHECKING:
    RuleActions = Section
else:
    RuleActions = msgspec.defstruct(
        "RuleActions", map(_action, RULES), bases=(Section,), namespace={"__doc__": "Actions by rule."}
    )


class OverrideSettings(Section):
    """Settings for some namespaces; all given selectors must match."""

    namespaces: Annotated[Maybe[Namespaces], _about("Namespaces that the override is for.")] = UNSET
    namespace_labels: Annotated[Maybe[Labels], _about("Only for namespaces with these labels.")] = UNSET
    mode: Annotated[Maybe[Mode], _about("Mode that replaces the policy's.", form="invalid mode")] = UNSET
    rules: Annotated[Maybe[RuleActions], _about("Actions that replace the policy's.", form="rule")] = UNSET
    tokens: Annotated[Maybe[TokenSettings], _about("Limits that replace the policy's.")] = UNSET


class ExemptionSettings(Section, kw_only=True):
    """Objects that rules leave alone; all given selectors must match."""

    rules: Annotated[
        tuple[Annotated[str, _RULE], ...],
        Meta(description='Rules that do not apply; "*": all.', min_length=1),
    ]
    namespaces: Annotated[Maybe[Namespaces], _about("Only in these namespaces.")] = UNSET
    service_accounts: Annotated[
        Maybe[Accounts],
        _about("Only for these ServiceAccounts and their tokens; for another account's token, both must be listed."),
    ] = UNSET
    users: Annotated[
        Maybe[Annotated[tuple[Annotated[str, _text("the name or glob of a user", r"\S+")], ...], _MAX_MANY]],
        _about("Only for requests of these users."),
    ] = UNSET
    reason: Annotated[
        str,
        _about("Why, for readers of the audit log: each of its records contains the reason."),
        _text("a text of at most 500 characters", r"[\s\S]*\S[\s\S]*", 500),
    ]
    until: Annotated[
        str,
        _about("Last day (UTC) on which the exemption is valid, or never."),
        _text("a date such as 2027-03-31, or never", r"(never|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2})"),
    ]


class PolicyDocument(Section, kw_only=True):
    """A tokenguard policy."""

    api_version: Annotated[Literal["tokenguard/v1"], _about("Version of the document.", form="invalid apiVersion")]
    kind: Annotated[Literal["TokenPolicy"], _about("Kind of the document.", form="invalid kind")]
    mode: Annotated[
        Maybe[Mode], _about("Upper limit for every rule's action.", form="invalid mode", default="enforce")
    ] = UNSET
    rules: Annotated[Maybe[RuleActions], _about("Action for each rule.", form="rule")] = UNSET
    tokens: Annotated[Maybe[TokenSettings], _about("Limits for tokens.")] = UNSET
    api_server_token: Annotated[
        Maybe[ApiServerTokenSettings], _about("Settings for the token that Kubernetes mounts by itself.")
    ] = UNSET
    kubelet_root_dirs: Annotated[
        Maybe[
            Annotated[
                tuple[
                    Annotated[
                        str,
                        _text(
                            "an absolute path other than /, without ..",
                            r"(?!.*(^|[/\\])\.\.([/\\]|$))(?!([A-Za-z]:)?[/\\.]*$)(/|[A-Za-z]:[/\\]).*",
                        ),
                    ],
                    ...,
                ],
                Meta(min_length=1, max_length=100),
            ]
        ],
        _about("The --root-dir of every node's kubelet, for kubelet-hostpath.", default=list(KUBELET_ROOT_DIRS)),
    ] = UNSET
    messages: Annotated[Maybe[MessageSettings], _about("Help that is appended to denials and warnings.")] = UNSET
    workloads: Annotated[
        Maybe[Annotated[tuple[WorkloadKind, ...], _MAX_SOME]],
        _about("Kinds that create pods, besides those of Kubernetes and well-known projects."),
    ] = UNSET
    inject: Annotated[
        Maybe[Annotated[tuple[InjectionSettings, ...], _MAX_SOME]], _about("Tokens to mount into pods.")
    ] = UNSET
    overrides: Annotated[
        Maybe[Annotated[tuple[OverrideSettings, ...], _MAX_MANY]],
        _about("Settings for some namespaces; the first match applies."),
    ] = UNSET
    exemptions: Annotated[
        Maybe[Annotated[tuple[ExemptionSettings, ...], _MAX_MANY]],
        _about("Objects that rules do not apply to, why, and until when."),
    ] = UNSET


def json_schema() -> dict[str, Any]:
    """Return the policy as JSON Schema 2020-12, for editors; only `validate` finds what depends on several keys."""
    schema = msgspec.json.schema(PolicyDocument)
    root = schema["$defs"].pop(PolicyDocument.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": f"{API_VERSION} {KIND}",
        "$defs": schema["$defs"],
    }


def misplaced(key: str, path: Path) -> str:
    """Return where a key belongs that is unknown at a path, as part of an error; empty if it belongs nowhere."""
    known = key_paths().get(key)
    if known is None:
        return ""
    is_in_list = len(path) > 1 and isinstance(path[1], int)
    if path[:1] == ("overrides",) and known.partition(".")[0] in _OVERRIDDEN:
        known = f"overrides[{path[1]}].{known}"
    elif known == key or is_in_list:
        named = "it" if known == key else quote(known)
        return f"; {named} can only be set at the top level"
    return f"; did you mean {quote(known)}?"


@cache
def key_paths() -> Mapping[str, str]:
    """Return the path of each key outside of lists, for keys that are in the wrong place."""
    sections = {
        "rules.": RuleActions,
        "apiServerToken.": ApiServerTokenSettings,
        "tokens.audiences.": AudienceSettings,
        "tokens.": TokenSettings,
        "messages.": MessageSettings,
        "": PolicyDocument,
    }
    return {
        field.encode_name: f"{path}{field.encode_name}"
        for path, section in sections.items()
        for field in msgspec.structs.fields(section)
    }
