"""Fields of an object that nothing reads and whose names are close to one that rules read: probably misspelt.

The API server refuses unknown fields; the objects of test cases are never sent there.
"""

import difflib
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, inspect

from webhook.core.documents.document import Path
from webhook.core.formatting import quote
from webhook.core.k8s_types import CustomWorkload, Pod

_SIMILARITY = 0.8
"""Above that of two fields of Kubernetes, of which rules read only one: `secretFile` and `secretRef`."""


def misspelt_fields(obj: dict[str, Any], decoded: object) -> Iterator[tuple[Path, str]]:
    """Yield the path of each such field, and what it was probably meant to be; `decoded` is what rules read."""
    path: Path = ()
    value: Any = obj
    model: type[Struct] | None = type(decoded) if isinstance(decoded, Struct) else None
    if isinstance(decoded, CustomWorkload):
        model = Pod
        path = tuple(decoded.template_pointer.split("/")[1:])
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
    if model is not None:
        yield from _below(inspect.type_info(model), value, path)


def _below(expected: inspect.Type, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(expected, inspect.UnionType):  # with null
        expected = next(each for each in expected.types if not isinstance(each, inspect.NoneType))
    if isinstance(expected, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in expected.fields}
        for key, child in value.items():
            if key in fields:
                yield from _below(fields[key], child, (*path, key))
            elif near := difflib.get_close_matches(key, fields.keys() - value.keys(), n=1, cutoff=_SIMILARITY):
                yield (*path, key), f"unknown field {quote(key)}; did you mean {quote(near[0])}?"
    elif isinstance(expected, inspect.ListType) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _below(expected.item_type, item, (*path, number))
