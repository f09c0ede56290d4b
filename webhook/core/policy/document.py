"""Reading a policy from its document: every mistake at once, each with its path and line."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from webhook.core import lifetimes
from webhook.core.audiences import refusal
from webhook.core.cluster import FALLBACK_API_AUDIENCES
from webhook.core.policy import grammar
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import (
    Action,
    ApiServerToken,
    Audiences,
    Injection,
    Mode,
    Override,
    Policy,
    Tokens,
)
from webhook.core.policy.notes import Mistake, Notes
from webhook.core.rules import BY_NAME, RULES
from webhook.core.selectors import Accounts, Globs, labels
from webhook.core.text import quote
from webhook.core.views import API_TOKEN_PATH

KEY = "policy.yaml"
_MOST_DEPTH = 30
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_EMPTY = f"apiVersion: {grammar.API_VERSION}\nkind: {grammar.KIND}\n".encode()
_NO_POLICY = f"holds no policy: there must be one document of kind {grammar.KIND}, or a ConfigMap with key {KEY}"


def default_policy() -> Policy:
    """Return the policy of an empty document."""
    policy = read_policy(_EMPTY)
    if not isinstance(policy, Policy):
        raise AssertionError(policy)  # noqa: TRY004 - the defaults contradict each other: a bug, not bad input
    return policy


def read_policy(data: bytes) -> Policy | tuple[Mistake, ...]:
    """Return the policy in `data`, or every mistake in it, in the order of their lines.

    `data` is the bare document, or a ConfigMap manifest that holds it under `policy.yaml`; other documents
    beside it are passed over. The policy's hash is of the exact bytes of the document.
    """
    nodes = _compose(data)
    if isinstance(nodes, Mistake):
        return (nodes,)
    bare = [node for node in nodes if _member(node, "kind") != "ConfigMap"]
    held = [value for node in nodes if _member(node, "kind") == "ConfigMap" and (value := _held(node))]
    if len(bare) == 1 and not held:
        return _read(bare[0], data, Notes(elsewhere=grammar.paths()))
    policies = [node for node in bare if _member(node, "kind") == grammar.KIND]
    if len(policies) + len(held) != 1:
        return (Mistake("", 1, _NO_POLICY if not policies and not held else "holds several policies: give one"),)
    return _read(policies[0], data, Notes(elsewhere=grammar.paths())) if policies else _read_held(held[0])


def _read_held(value: yaml.ScalarNode) -> Policy | tuple[Mistake, ...]:
    """Read the document inside a ConfigMap; in a block scalar its lines are lines of the file, too."""
    start = value.start_mark.line
    notes = Notes(elsewhere=grammar.paths(), line_of=lambda line: start + 1 + (line + 1 if value.style == "|" else 0))
    data = str(value.value).encode()
    nodes = _compose(data)
    if isinstance(nodes, Mistake):
        return (Mistake(nodes.path, notes.line_of(nodes.line - 1), nodes.message),)
    if len(nodes) != 1:
        return (Mistake(KEY, notes.line_of(0), "must hold one document"),)
    return _read(nodes[0], data, notes)


def _compose(data: bytes) -> list[yaml.Node] | Mistake:
    """Return the documents' root nodes, or why there are none.

    Depth is looked at first: libyaml's composer recurses without a bound, and would end the process.
    """
    try:
        text = data.decode()
        depth = 0
        for event in yaml.parse(text, _LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 1
                return Mistake("", line, f"is nested deeper than {_MOST_DEPTH} levels")
        return [node for node in yaml.compose_all(text, _LOADER) if node is not None and not _is_null(node)]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "; a * at the start of a word must be in quotes" if "alias" in str(error) else ""
        return Mistake("", line, f"is not YAML: {error.problem or error.context}{hint}")
    except yaml.YAMLError as error:
        return Mistake("", 1, f"is not YAML: {str(error).splitlines()[0]}")
    except UnicodeDecodeError as error:
        return Mistake("", data.count(b"\n", 0, error.start) + 1, "is not UTF-8")


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.value


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    members = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((child for key, child in members if key.value == name), None)


def _member(node: yaml.Node, name: str) -> str | None:
    child = _child(node, name)
    return child.value if isinstance(child, yaml.ScalarNode) else None


def _held(node: yaml.Node) -> yaml.ScalarNode | None:
    child = _child(_child(node, "data"), KEY)
    return child if isinstance(child, yaml.ScalarNode) else None


def _read(node: yaml.Node, data: bytes, notes: Notes) -> Policy | tuple[Mistake, ...]:
    notes.lines[""] = notes.line_of(node.start_mark.line)
    values = grammar.POLICY.read(node, "", notes) or {}
    policy = _build(values, hashlib.sha256(data).hexdigest(), notes)
    if notes.mistakes:
        return tuple(sorted(notes.mistakes, key=lambda mistake: mistake.line))
    return policy


def _build(values: Mapping[str, Any], sha256: str, notes: Notes) -> Policy:
    mode = Mode(values.get("mode", Mode.ENFORCE))
    rules = {rule.name: rule.default for rule in RULES} | _actions(values.get("rules", {}))
    own = values.get("apiServerToken", {})
    api_audiences = tuple(own.get("audiences", ()))
    known = api_audiences or FALLBACK_API_AUDIENCES
    tokens = _tokens(values.get("tokens", {}), Tokens(), "tokens", known, notes)
    injections = tuple(_injections(values.get("inject", ()), tokens, known, notes))
    _note_clashes(injections, notes)
    return Policy(
        mode=mode,
        rules=rules,
        tokens=tokens,
        api_server_token=ApiServerToken(own.get("expiration") == "keep", api_audiences),
        injections=injections,
        overrides=tuple(
            Override(
                tuple(one.get("namespaces", ())),
                labels(one.get("namespaceLabels")),
                Mode(one.get("mode", mode)),
                rules | _actions(one.get("rules", {})),
                _tokens(one.get("tokens", {}), tokens, f"overrides[{number}].tokens", known, notes),
            )
            for number, one in enumerate(values.get("overrides", ()))
        ),
        exemptions=tuple(_exemption(one) for one in values.get("exemptions", ())),
        sha256=sha256,
    )


def _actions(values: Mapping[str, str]) -> dict[str, Action]:
    return {rule: Action(action) for rule, action in values.items()}


def _tokens(values: Mapping[str, Any], base: Tokens, path: str, api_audiences: tuple[str, ...], notes: Notes) -> Tokens:
    given = values.get("audiences", {})
    allowed = Globs(given["allowed"]) if "allowed" in given else base.audiences.allowed
    default = given.get("default", base.audiences.default)
    advice = refusal(default, allowed, api_audiences) if default else None
    if advice:
        at = "default" if "default" in given else "allowed"
        notes.wrong_at(f"{path}.audiences.{at}", f"the default audience {quote(default)} is not allowed; {advice}")
    return Tokens(
        values.get("maxExpirationSeconds", base.max_expiration_seconds),
        values.get("maxRequestExpirationSeconds", base.max_request_expiration_seconds),
        Audiences(given.get("required", base.audiences.required), default, allowed),
    )


def _injections(
    values: tuple[Mapping[str, Any], ...], tokens: Tokens, api_audiences: tuple[str, ...], notes: Notes
) -> Iterator[Injection]:
    for number, one in enumerate(values):
        path = f"inject[{number}]"
        injection = Injection(
            name=one.get("name", ""),
            audience=one.get("audience", ""),
            mount_path=one.get("mountPath", ""),
            expiration_seconds=one.get("expirationSeconds"),
            path=one.get("path", "token"),
            env=one.get("env"),
            on_request=one.get("onRequest", False),
            namespaces=Globs(one.get("namespaces", ())),
            namespace_labels=labels(one.get("namespaceLabels")),
            service_accounts=Accounts(one.get("serviceAccounts", ())),
            pod_labels=labels(one.get("podLabels")),
        )
        maximum = tokens.max_expiration_seconds
        for_api_server = injection.audience in api_audiences
        lifetime = lifetimes.projected(injection.expiration_seconds, for_api_server=for_api_server)
        if injection.expiration_seconds and lifetime > maximum:
            year = " for the API server means a year, which" if lifetime == lifetimes.YEAR else ""
            notes.wrong_at(
                f"{path}.expirationSeconds",
                f"{injection.expiration_seconds}{year} outlives tokens.maxExpirationSeconds, which is {maximum}",
            )
        advice = refusal(injection.audience, tokens.audiences.allowed, api_audiences) if injection.audience else None
        if advice:
            notes.wrong_at(
                f"{path}.audience",
                f"{quote(injection.audience)} is not in tokens.audiences.allowed; {advice}",
            )
        if injection.mount_path and _overlap(injection.clean_mount_path, API_TOKEN_PATH):
            notes.wrong_at(f"{path}.mountPath", f"overlaps {API_TOKEN_PATH}, where Kubernetes mounts its own token")
        yield injection


def _note_clashes(injections: tuple[Injection, ...], notes: Notes) -> None:
    """Note injections that no pod could have both: of one name, or mounted at, above or below the same place."""
    for number, one in enumerate(injections):
        for earlier, other in enumerate(injections[:number]):
            if one.name and one.name == other.name:
                notes.wrong_at(f"inject[{number}].name", f"{quote(one.name)} is taken already, by inject[{earlier}]")
            if one.mount_path and other.mount_path and _overlap(one.clean_mount_path, other.clean_mount_path):
                at = f"inject[{number}].mountPath"
                notes.wrong_at(at, f"{quote(one.mount_path)} overlaps {quote(other.mount_path)} of inject[{earlier}]")


def _overlap(path: str, other: str) -> bool:
    """Say whether two paths are the same, or one lies below the other: nothing can be mounted into a token's volume."""
    return path == other or path.startswith(other + "/") or other.startswith(path + "/")


def _exemption(values: Mapping[str, Any]) -> Exemption:
    rules = tuple(values.get("rules", ()))
    until = values.get("until")
    return Exemption(
        rules=tuple(BY_NAME) if "*" in rules else rules,
        reason=" ".join(values.get("reason", "").split()),
        until=None if until == "never" else until,
        namespaces=Globs(values.get("namespaces", ())),
        service_accounts=Accounts(values.get("serviceAccounts", ())),
        users=Globs(values.get("users", ())),
    )
