"""Reading a policy from its document: every mistake at once, each with its path and line."""

import hashlib
from collections.abc import Mapping

import yaml

from webhook.core.policy import schema
from webhook.core.policy.builder import build
from webhook.core.policy.configmap import KEY
from webhook.core.policy.errors import ErrorCollector, PolicyError
from webhook.core.policy.model import Policy

_MOST_DEPTH = 30
_MOST_SIZE = 4 << 20
_MOST_TAGS = 100
_MAX_DOCUMENTS = 1000
_LONGEST = 200
_VALUE_SIZE = 16
"""What a value counts for besides its characters: a document of 1 MiB may hold some 200,000 of them."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_EMPTY = f"apiVersion: {schema.API_VERSION}\nkind: {schema.KIND}\n".encode()
_NO_POLICY = f"holds no policy: there must be one document of kind {schema.KIND}, or a ConfigMap with key {KEY}"


def default_policy() -> Policy:
    """Return the policy of an empty document."""
    policy = read_policy(_EMPTY)
    if not isinstance(policy, Policy):
        raise AssertionError(policy)  # noqa: TRY004 - the defaults contradict each other: a bug, not bad input
    return policy


def read_policy(data: bytes) -> Policy | tuple[PolicyError, ...]:
    """Return the policy in `data`, or every mistake in it, in the order of their lines (past 64 KiB: how many more).

    `data` is the bare document, or a ConfigMap manifest that holds it under `policy.yaml`; other documents
    beside it are passed over. The policy's hash is of the exact bytes of the document. Whatever is in it, reading
    takes time and memory in proportion to its size, and no more than for some 200,000 values.
    """
    nodes = _compose(data)
    if isinstance(nodes, PolicyError):
        return (nodes,)
    bare = [node for node in nodes if _member(node, "kind") != "ConfigMap"]
    held = [value for node in nodes if _member(node, "kind") == "ConfigMap" and (value := _held(node))]
    if len(bare) == 1 and not held:
        return _read(bare[0], data, ErrorCollector(key_paths=schema.key_paths()))
    policies = [node for node in bare if _member(node, "kind") == schema.KIND]
    if len(policies) + len(held) != 1:
        return (PolicyError("", 1, _NO_POLICY if not policies and not held else "holds several policies: give one"),)
    return _read(policies[0], data, ErrorCollector(key_paths=schema.key_paths())) if policies else _read_held(held[0])


def _read_held(value: yaml.ScalarNode) -> Policy | tuple[PolicyError, ...]:
    """Read the document inside a ConfigMap; in a block scalar its lines are lines of the file, too."""
    start = value.start_mark.line
    errors = ErrorCollector(
        key_paths=schema.key_paths(), line_of=lambda line: start + 1 + (line + 1 if value.style == "|" else 0)
    )
    data = str(value.value).encode()
    nodes = _compose(data)
    if isinstance(nodes, PolicyError):
        return (PolicyError(nodes.path, errors.line_of(nodes.line - 1), nodes.message),)
    if len(nodes) != 1:
        return (PolicyError(KEY, errors.line_of(0), "must hold one document"),)
    return _read(nodes[0], data, errors)


def _compose(data: bytes) -> list[yaml.Node] | PolicyError:
    """Return the documents' root nodes, or why there are none."""
    try:
        text = data.decode()
        return _objection(text) or [
            node for node in yaml.compose_all(text, _LOADER) if node is not None and not _is_null(node)
        ]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "; a * at the start of a word must be in quotes" if "alias" in str(error) else ""
        return PolicyError("", line, f"is not YAML: {str(error.problem or error.context)[:_LONGEST]}{hint}")
    except yaml.YAMLError as error:
        return PolicyError("", 1, f"is not YAML: {str(error).splitlines()[0]}")
    except UnicodeDecodeError as error:
        return PolicyError("", data.count(b"\n", 0, error.start) + 1, "is not UTF-8")


def _objection(text: str) -> PolicyError | None:
    """Return why a document had better not be composed, if so.

    libyaml's composer recurses without a bound, and would end the process; it compares each %TAG with all before it;
    and a few lines of aliases can stand for terabytes. What an alias stands for is counted each time, so that whoever
    reads the nodes need not count.
    """
    if text.count("%TAG") > _MOST_TAGS:
        return PolicyError("", 1, f"holds more than {_MOST_TAGS} %TAG directives")
    size = documents = 0
    sizes: dict[str | None, int] = {}
    within: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, _LOADER):
        before = size
        size += _size(event, sizes)
        if isinstance(event, yaml.CollectionStartEvent):
            within.append((event.anchor, before))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            sizes[anchor] = size - before
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = size - before
        elif isinstance(event, yaml.DocumentStartEvent):
            size = 0
            documents += 1
        if len(within) > _MOST_DEPTH or size > _MOST_SIZE or documents > _MAX_DOCUMENTS:
            line = event.start_mark.line + 1 if event.start_mark else 1
            if documents > _MAX_DOCUMENTS:
                return PolicyError("", line, f"holds more than {_MAX_DOCUMENTS} documents")
            too_large = "the document is too large: up to here, with all that aliases repeat, it holds too many values"
            too_deep = f"is nested deeper than {_MOST_DEPTH} levels"
            return PolicyError("", line, too_large if size > _MOST_SIZE else too_deep)
    return None


def _size(event: yaml.Event, sizes: Mapping[str | None, int]) -> int:
    if isinstance(event, yaml.AliasEvent):
        return _VALUE_SIZE + sizes.get(event.anchor, 0)
    if isinstance(event, yaml.ScalarEvent):
        return _VALUE_SIZE + len(event.value)
    return _VALUE_SIZE if isinstance(event, yaml.CollectionStartEvent) else 0


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


def _read(node: yaml.Node, data: bytes, errors: ErrorCollector) -> Policy | tuple[PolicyError, ...]:
    errors.lines[""] = errors.line_of(node.start_mark.line)
    values = schema.POLICY.read(node, "", errors) or {}
    policy = build(values, hashlib.sha256(data).hexdigest(), errors)
    return errors.sorted() or policy
