"""Findings that are of no rule: about an object that cannot be read, and about an invalid policy."""

import re
from collections.abc import Mapping

from webhook.core.decision import INVALID_POLICY
from webhook.core.json_patch import escape

UNREADABLE_OBJECT = "unreadable-object"
"""The rule name of a finding about an object that rules look at and that cannot be read."""

EXPLANATIONS: Mapping[str, tuple[str, str]] = {
    UNREADABLE_OBJECT: (
        "an object cannot be read",
        """\
The object is of a kind that rules evaluate, but a field that they read has another type than Kubernetes defines. It
cannot be evaluated, and the API server would refuse it, too.""",
    ),
    INVALID_POLICY: (
        "a policy is invalid",
        """\
The ConfigMap has the label tokenguard/policy, so its key policy.yaml must contain a valid policy. The webhook denies
the ConfigMap as long as it does not; `tokenguard policy validate` shows all errors.""",
    ),
}
"""When there is such a finding, and what to know about it."""

_WRONG_TYPE = re.compile(r"Expected `([a-z]+)(?: \| null)?`, got `([a-z]+)`(?: - at `\$([^`]*)`)?$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_TYPES = {
    "array": "a list", "bool": "a boolean", "float": "a number", "int": "a number", "null": "null",
    "object": "a mapping", "str": "a string",
}  # fmt: skip


def explain_problem(problem: str) -> tuple[str, str]:
    """Return the JSON Pointer of the field that cannot be read, and what is wrong there, in the words of YAML.

    `problem` is a decision's, with the message of `msgspec`; the pointer is empty if that names no field.
    """
    match = _WRONG_TYPE.search(problem)
    if match is None or not {match[1], match[2]} <= _TYPES.keys():
        return "", problem
    expected, actual, path = match.groups()
    hint = ""
    if actual == "str" and expected in ("int", "float", "bool"):
        hint = "; write it without quotes"
    elif expected == "str" and actual in ("int", "float", "bool"):
        hint = "; put it in quotes"
    return _pointer(path or ""), f"must be {_TYPES[expected]}, not {_TYPES[actual]}{hint}"


def _pointer(path: str) -> str:
    """Return the pointer of a path like `.spec.volumes[0].name`, up to the key of a map, which has no name there."""
    pointer, at = "", 0
    while step := _STEP.match(path, at):
        pointer, at = f"{pointer}/{escape(step[1] or step[2])}", step.end()
    return pointer
