"""What is true of every patch: it applies, it is enough, and it leaves the rest as it was."""

import re
from collections.abc import Callable
from typing import Any

import jsonpatch

from webhook.core.admission_request import Phase
from webhook.core.decision import Decision, Finding
from webhook.core.json_patch import Operation
from webhook.core.policy.model import Action

_CONTAINER = r"/spec/(?:initC|c)ontainers/\d+"
_TOKEN = r"/spec/volumes/\d+/projected/sources/\d+/serviceAccountToken"
_MADE = re.compile(
    rf"/spec/volumes|{_CONTAINER}/(?:volumeMounts|env)|/spec/volumes/\d+/projected"
    rf"|{_TOKEN}/(?:expirationSeconds|audience)|/spec/automountServiceAccountToken"
)
"""Members that a patch may make where there are none, or where they are null."""
_APPENDED_TO = re.compile(rf"/spec/volumes|{_CONTAINER}/(?:volumeMounts|env)")
_REPLACED = re.compile(rf"{_TOKEN}/(?:expirationSeconds|audience)|/spec/automountServiceAccountToken")
_REMOVED = re.compile(rf"/spec/volumes/\d+(?:/secret)?|{_CONTAINER}/volumeMounts/\d+")


def assert_patch_is_sound(obj: dict[str, Any], decide: Callable[[dict[str, Any], Phase], Decision]) -> Decision:
    """Check what `/mutate` makes of an object, and return that decision; `decide` evaluates an object in a phase."""
    first = decide(obj, Phase.MUTATE)
    assert_touches_its_own_alone(obj, first.patch)
    patched = jsonpatch.apply_patch(obj, list(first.patch))
    assert bool(first.patch) == (patched != obj), "a patch changes something"
    again = decide(patched, Phase.MUTATE)
    assert again.patch == (), "a second pass adds nothing"
    left = [finding for finding in decide(patched, Phase.VALIDATE).findings if _patchable(finding)]
    assert left == [], "nothing is left that could have been patched"
    return first


def assert_touches_its_own_alone(obj: dict[str, Any], patch: tuple[Operation, ...]) -> None:
    """Check that each operation adds what wasn't there, or sets or takes away what is the policy's to set.

    So nothing that the author wrote is written again from what was read of it: unknown fields, and numbers that no
    Python value holds, stay what they were, byte for byte.
    """
    for operation in patch:
        op, path = operation["op"], operation["path"]
        parent = path.removesuffix("/-")
        if op == "add" and parent != path:
            assert _APPENDED_TO.fullmatch(parent), operation
        elif op == "add":
            assert _MADE.fullmatch(path), operation
            assert _at(obj, path) is None, operation
        elif op == "replace":
            assert _REPLACED.fullmatch(path), operation
        else:
            assert op == "remove", operation
            assert _REMOVED.fullmatch(path), operation
            taken = _at(obj, path)
            if not path.endswith("/secret"):
                assert taken["name"].startswith("kube-api-access-"), operation


def _at(obj: Any, pointer: str) -> Any:
    for token in pointer.split("/")[1:]:
        obj = obj[int(token)] if isinstance(obj, list) else obj.get(token)
        if obj is None:
            return None
    return obj


def _patchable(finding: Finding) -> bool:
    violation = finding.violation
    return (
        finding.action is Action.REJECT
        and bool(violation.edits)
        and (finding.intended is Action.PATCH or not violation.authored)
    )
