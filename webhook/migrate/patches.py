"""Edits as a patch file: a strategic merge patch, or a JSON Patch for kinds without merge keys.

`kubectl patch --patch-file` and the `patches` of a kustomization take both. A JSON merge patch would not do: it
replaces whole lists, so it would contain every container with its environment.
"""

from collections.abc import Iterable
from typing import Any

from webhook.core.json_patch import Append, Edit, Operation, Put, assemble, escape, unescape
from webhook.migrate.plan_builder import Json, value_at

_MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "secrets": "name",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""The key by which a list's elements are merged, by the list's name (k8s.io/api, core/v1, `patchMergeKey`)."""


def strategic_merge_patch(original: Json, edits: Iterable[Edit]) -> dict[str, Any]:
    """Return the edits of an object as a strategic merge patch; lists are only edited by element if they have a key."""
    patch: dict[str, Any] = {}
    for edit in edits:
        *parents, last = map(unescape, edit.pointer.split("/")[1:])
        target: Any = patch
        source: Any = original
        name = ""
        for token in parents:
            if isinstance(source, list):
                source = source[int(token)]
                target = _element(target, _MERGE_KEYS[name], source)
            else:
                source = source.get(token)
                target = target.setdefault(token, [] if isinstance(source, list) else {})
            name = token
        if isinstance(edit, Append):
            target.setdefault(last, []).append(edit.value)
        elif isinstance(edit, Put):
            target[last] = edit.value
        elif isinstance(source, list):
            _element(target, _MERGE_KEYS[name], source[int(last)])["$patch"] = "delete"
        else:
            target[last] = None
    return patch


def _element(target: list[dict[str, Any]], key: str, source: Json) -> dict[str, Any]:
    """Return the element of a patch's list that is merged into `source`."""
    for element in target:
        if element[key] == source[key]:
            return element
    target.append({key: source[key]})
    return target[-1]


def json_patch(original: Json, edits: Iterable[Edit]) -> list[Operation]:
    """Return the edits of an object as a JSON Patch that fails if an element that it changes is not where it was."""
    all_edits = tuple(edits)
    tests: dict[str, Operation] = {}
    for edit in all_edits:
        pointer, name = "", ""
        for token in edit.pointer.split("/")[1:]:
            parent = value_at(original, pointer)
            pointer = f"{pointer}/{token}"
            key = _MERGE_KEYS.get(name) if isinstance(parent, list) else None
            if key:
                key_pointer = f"{pointer}/{escape(key)}"
                tests[key_pointer] = {"op": "test", "path": key_pointer, "value": value_at(original, key_pointer)}
            name = unescape(token)
    return [*tests.values(), *assemble(all_edits)]
