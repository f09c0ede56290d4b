"""Every key that a policy has: its type, its default and what it is for. Nothing else knows the keys."""

from collections.abc import Iterator
from typing import Any

from webhook.core.lifetimes import MAX_EXPIRATION, MIN_EXPIRATION
from webhook.core.policy.model import KUBELET_ROOT_DIRS, Mode
from webhook.core.policy.schema_types import Choice, Day, Flag, Key, ListOf, MapOf, Number, Record, Text, Type
from webhook.core.rules import BY_NAME

API_VERSION = "tokenguard/v1"
KIND = "TokenPolicy"

_LIFETIME = Number(MIN_EXPIRATION, MAX_EXPIRATION)
_NAMESPACES = ListOf(Text("a namespace's name or glob", r"[^/\s]+"))
_ACCOUNTS = ListOf(Text("a ServiceAccount as name or namespace/name", r"[^/\s]+(/[^/\s]+)?"))
_LABELS = MapOf(lambda _: Text("a label's value (matched exactly, so without *)", r"[^*\s]*"))
_AUDIENCE = Text("an audience", r"\S+")
_MODE = Choice(tuple(Mode), "mode")


def _action_of(rule: str) -> Type | None:
    known = BY_NAME.get(rule)
    return Choice(tuple(known.actions), "action of this rule") if known else None


_RULES = MapOf(_action_of, tuple(BY_NAME), "rule")

_TOKENS = Record(
    {
        "maxExpirationSeconds": Key(_LIFETIME, "the longest that a projected token may live, in seconds", 3600),
        "maxRequestExpirationSeconds": Key(
            _LIFETIME, "the same for tokens asked for by hand (TokenRequest); null: the same number", nullable=True
        ),
        "audiences": Key(
            Record(
                {
                    "required": Key(
                        Flag(), "a token that a pod's author projects must name its audience", default=True
                    ),
                    "default": Key(_AUDIENCE, "patched in where it names none; must be allowed", nullable=True),
                    "allowed": Key(
                        ListOf(_AUDIENCE),
                        "audiences, exact or with *; empty: any. The API server's, named, is always allowed",
                        [],
                    ),
                }
            ),
            "whom tokens may be made out to",
        ),
    }
)

_INJECTION = Record(
    {
        "name": Key(
            Text("a DNS label of at most 52 characters", r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?"),
            "names the volume: tokenguard-NAME",
            required=True,
        ),
        "audience": Key(Text("an audience without *", r"[^\s*]+"), "whom the token is made out to", required=True),
        "expirationSeconds": Key(_LIFETIME, "its lifetime; absent: the lesser of 3600 and the maximum"),
        "mountPath": Key(
            Text(
                "an absolute path without : and .., and not the root",
                r"/[^:\s]*",
                forbidden=r"(^|/)\.\.(/|$)|^[/.]*$",
            ),
            "where every container sees the volume",
            required=True,
        ),
        "path": Key(
            Text(
                "a relative path that doesn't begin with ..", r"[^/:\s]([^:\s]*[^/:\s])?", forbidden=r"^\.\.|/\.\.(/|$)"
            ),
            "the file: mountPath/path",
            "token",
        ),
        "env": Key(Text("a variable's name", r"[A-Za-z_][A-Za-z0-9_]*"), "set to the file's path in every container"),
        "onRequest": Key(Flag(), 'true: only for pods annotated tokenguard/inject: "NAME,..."', default=False),
        "namespaces": Key(_NAMESPACES, "only pods of these namespaces"),
        "namespaceLabels": Key(_LABELS, "only pods of namespaces with these labels"),
        "serviceAccounts": Key(_ACCOUNTS, "only pods of these accounts"),
        "podLabels": Key(_LABELS, "only pods with these labels"),
    }
)

_WORKLOAD = Record(
    {
        "apiGroup": Key(
            Text(
                "the API group of a custom kind, like example.com",
                r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+",
            ),
            "its API group, without a version",
            required=True,
        ),
        "kind": Key(Text("a kind, like Runner", r"[A-Z][A-Za-z0-9]{0,62}"), "its kind", required=True),
        "template": Key(
            Text(
                "a JSON Pointer through maps, like /spec/template",
                r"(?=.{1,500}\Z)(/([^/~\s]|~[01])+){1,20}",
                forbidden=r"^/metadata(/|$)|/(\d+|-)(/|$)",
            ),
            "where its pod template is: metadata and spec of a pod",
            required=True,
        ),
    }
)

_OVERRIDE = Record(
    {
        "namespaces": Key(_NAMESPACES, "the namespaces that it holds for"),
        "namespaceLabels": Key(_LABELS, "holds for namespaces with these labels"),
        "mode": Key(_MODE, "in place of the policy's mode"),
        "rules": Key(_RULES, "actions in place of the policy's"),
        "tokens": Key(_TOKENS, "keys in place of the policy's"),
    }
)

_EXEMPTION = Record(
    {
        "rules": Key(
            ListOf(Choice(("*", *BY_NAME), "rule"), at_least=1),
            'the rules that leave the object alone, or "*"',
            required=True,
        ),
        "namespaces": Key(_NAMESPACES, "only in these namespaces"),
        "serviceAccounts": Key(
            _ACCOUNTS, "only for these accounts, and their tokens: another account's token only where both are listed"
        ),
        "users": Key(ListOf(Text("a user's name or glob", r"\S+")), "only when one of these users asks"),
        "reason": Key(
            Text("the reason, in words and at most 500 characters", r"(?s)(?=.{1,500}\Z).*\S.*"),
            "why, for whoever reads the audit log: it stands in each of its lines",
            required=True,
        ),
        "until": Key(Day(), "the last day (UTC) that it holds, or never", required=True),
    }
)

POLICY = Record(
    {
        "apiVersion": Key(Choice((API_VERSION,), "version of this document"), required=True),
        "kind": Key(Choice((KIND,), "kind of policy"), required=True),
        "mode": Key(_MODE, "the ceiling for every rule", "enforce"),
        "rules": Key(_RULES, "what to do about each rule"),
        "tokens": Key(_TOKENS, "what tokens may be like"),
        "apiServerToken": Key(
            Record(
                {
                    "expiration": Key(
                        Choice(("cap", "keep"), "choice"),
                        "keep: 3607 seconds there really means a year",
                        "cap",
                    ),
                    "audiences": Key(
                        ListOf(Text("an audience without *", r"[^\s*]+")),
                        "the API server's own; empty: read from the webhook's own token",
                        [],
                    ),
                }
            ),
            "the token that Kubernetes mounts by itself",
        ),
        "kubeletRootDirs": Key(
            ListOf(
                Text(
                    "an absolute path without .., and not the root",
                    r"(/|[A-Za-z]:[/\\]).*",
                    forbidden=r"(^|[/\\])\.\.([/\\]|$)|^([A-Za-z]:)?[/\\.]*$",
                ),
                at_least=1,
            ),
            "where kubelet-hostpath looks, in place of the default: the --root-dir of every node's kubelet",
            list(KUBELET_ROOT_DIRS),
        ),
        "workloads": Key(
            ListOf(_WORKLOAD), "more kinds that create pods, besides those of Kubernetes and well-known projects"
        ),
        "inject": Key(ListOf(_INJECTION), "tokens that the policy mounts into pods"),
        "overrides": Key(ListOf(_OVERRIDE), "the first that matches a namespace wins, over the defaults above"),
        "exemptions": Key(ListOf(_EXEMPTION), "whom rules leave alone, why, and until when"),
    }
)


def json_schema() -> dict[str, Any]:
    """Return the policy as JSON Schema 2020-12, for editors; what spans several keys only `validate` finds."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{API_VERSION} {KIND}",
        **POLICY.schema(),
    }


def key_paths() -> dict[str, str]:
    """Return for each key name the one path where it belongs, for keys that stand in the wrong place."""
    return dict(_paths(POLICY, ""))


def _paths(record: Record, prefix: str) -> Iterator[tuple[str, str]]:
    for name, key in record.keys.items():
        if isinstance(key.type, Record):
            yield from _paths(key.type, f"{prefix}{name}.")
        yield name, prefix + name
