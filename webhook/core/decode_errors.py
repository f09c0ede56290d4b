"""Why an object cannot be read, in the words of a manifest: the errors of `msgspec` name Python's types."""

import re

from webhook.core.json_patch import escape, json_path

UNREADABLE = "the object can't be read:"
_WRONG_TYPE = re.compile(r"Expected `([a-z]+)(?: \| null)?`, got `([a-z]+)`")
_PLACE = re.compile(r" - at `\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_TYPES = {
    "array": "a list", "bool": "a boolean", "float": "a number", "int": "a whole number", "null": "null",
    "object": "a mapping", "str": "a string",
}  # fmt: skip


def explain_decode_error(error: Exception) -> tuple[str, str]:
    """Return the JSON Pointer of the field that cannot be read, empty if none is named, and what is wrong there.

    The text contains no value of the object.
    """
    if isinstance(error, RecursionError):
        return "", "nests too deep"
    text = str(error)
    location = _PLACE.search(text)
    pointer = _pointer(location[1]) if location else ""
    text = text[: location.start()] if location else text
    match = _WRONG_TYPE.fullmatch(text)
    if match and {match[1], match[2]} <= _TYPES.keys():
        return pointer, _wrong_type(match[1], match[2])
    return pointer, f"is invalid: {text.replace('`', '').replace('Expected', 'expected', 1)}"


def problem_text(pointer: str, message: str) -> str:
    """Return the sentence about an object that cannot be read."""
    return f"{UNREADABLE} {json_path(pointer) or 'it'} {message}"


def _wrong_type(expected: str, actual: str) -> str:
    hint = ""
    if actual == "str" and expected in ("int", "float", "bool"):
        hint = "; write it without quotes"
    elif expected == "str" and actual in ("int", "float", "bool"):
        hint = "; put it in quotes"
    got = "a number" if actual == "int" else "a number with a fraction" if actual == "float" else _TYPES[actual]
    return f"must be {_TYPES[expected]}, not {got}{hint}"


def _pointer(path: str) -> str:
    """Return the pointer of a path like `.spec.volumes[0].name`, up to the key of a map, which has no name there."""
    pointer, at = "", 0
    while step := _STEP.match(path, at):
        pointer, at = f"{pointer}/{escape(step[1] or step[2])}", step.end()
    return pointer
