"""The fields of an object that have another type than Kubernetes defines: all of them, not only the first."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from webhook.core.admission_request import AdmissionRequest
from webhook.core.json_patch import unescape

_MAX_FIELDS = 20
_EMPTY: tuple[Any, ...] = (None, {}, "")
"""What a value of a wrong type is replaced by, one after the other: an item of a list may not be null."""


def wrong_types(
    raw: bytes, request: AdmissionRequest, read: Callable[[bytes], AdmissionRequest]
) -> tuple[dict[str, str], bytes, object]:
    """Return the problem of each field of a wrong type, by its JSON Pointer, and the object without their values.

    `raw` is the object as JSON, and `request` is what `read` made of it. The object without the values is returned as
    JSON and decoded, None if it still cannot be read.
    """
    problems: dict[str, str] = {}
    tries: Counter[str] = Counter()
    while request.problem and len(problems) < _MAX_FIELDS:
        pointer = request.problem_field
        problems.setdefault(pointer, request.problem)
        if not pointer or tries[pointer] == len(_EMPTY):
            break
        raw = _replaced(raw, pointer, _EMPTY[tries[pointer]])
        tries[pointer] += 1
        request = read(raw)
    return problems, raw, request.object


def _replaced(raw: bytes, pointer: str, value: Any) -> bytes:
    """Return JSON with another value at a JSON Pointer, unchanged if there is none."""
    document = parent = msgspec.json.decode(raw)
    *above, last = (unescape(token) for token in pointer.split("/")[1:])
    try:
        for name in above:
            parent = parent[int(name) if isinstance(parent, list) else name]
        parent[int(last) if isinstance(parent, list) else last] = value
    except (LookupError, TypeError, ValueError):
        return raw
    return msgspec.json.encode(document)
