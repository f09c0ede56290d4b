"""Why an object cannot be read, in the words of a manifest: the errors of `msgspec` name Python's types."""

import re
from typing import Any

import msgspec

from webhook.core.documents.yaml_scalars import plain
from webhook.core.json_patch import escape, json_path, unescape

UNREADABLE = "the object can't be read:"
_WRONG_TYPE = re.compile(r"Expected `([a-z]+)(?: \| null)?`, got `([a-z]+)`")
_PLACE = re.compile(r" - at `\$([^`]*)`$")
_ANY_KEY = "[...]"
"""How a place ends that is a value in a map, whose key is not named."""
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_TYPES = {
    "array": "a list", "bool": "a boolean", "float": "a number", "int": "a whole number", "null": "null",
    "object": "a mapping", "str": "a string",
}  # fmt: skip


def explain_decode_error(error: Exception, raw: bytes | msgspec.Raw) -> tuple[str, str]:
    """Return the JSON Pointer of the field that cannot be read, empty if none is named, and what is wrong there.

    `raw` is the object as JSON. The text contains no value of it.
    """
    if isinstance(error, RecursionError):
        return "", "nests too deep"
    text = str(error)
    location = _PLACE.search(text)
    pointer = _pointer(location[1]) if location else ""
    text = text[: location.start()] if location else text
    match = _WRONG_TYPE.fullmatch(text)
    if match and {match[1], match[2]} <= _TYPES.keys():
        if location and location[1].endswith(_ANY_KEY):
            pointer = _wrong_value(raw, pointer)
        return pointer, _wrong_type(match[1], match[2], text_at(raw, pointer))
    return pointer, f"is invalid: {text.replace('`', '').replace('Expected', 'expected', 1)}"


def text_at(raw: bytes | msgspec.Raw, pointer: str) -> str:
    """Return the text at a JSON Pointer of an object, which may be confidential; empty if there is none."""
    return _decode(_value_at(raw, pointer), str) or ""


def problem_text(pointer: str, message: str) -> str:
    """Return the sentence about an object that cannot be read."""
    return f"{UNREADABLE} {json_path(pointer) or 'it'} {message}"


def _wrong_type(expected: str, actual: str, text: str) -> str:
    """Return that a value has another type; `text` is the value if it is a string, and not shown."""
    hint = ""
    if actual == "str" and type(plain(text)).__name__ == expected:
        hint = "; write it without quotes"
    elif actual == "str" and expected == "bool":
        hint = "; write true or false"
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


def _wrong_value(raw: bytes | msgspec.Raw, pointer: str) -> str:
    """Return the place of the first value in a map of texts that is neither a text nor null."""
    values: dict[str, msgspec.Raw] = _decode(_value_at(raw, pointer), dict[str, msgspec.Raw]) or {}
    wrong = (key for key, value in values.items() if bytes(value)[:1] not in (b'"', b"n"))
    return next((f"{pointer}/{escape(key)}" for key in wrong), pointer)


def _value_at(raw: bytes | msgspec.Raw, pointer: str) -> bytes | msgspec.Raw:
    """Return the JSON of what a pointer names, which may be confidential; empty if there is none."""
    value = raw
    for token in pointer.split("/")[1:]:
        below = _decode(value, dict[str, msgspec.Raw] | list[msgspec.Raw])
        if isinstance(below, list):
            below = dict(zip(map(str, range(len(below))), below, strict=True))
        value = (below or {}).get(unescape(token), b"")
    return value


def _decode(raw: bytes | msgspec.Raw, model: Any) -> Any:
    """Return JSON as a type, None if it is another."""
    try:
        return msgspec.json.decode(raw, type=model)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
