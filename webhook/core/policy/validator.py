"""Checks the values of a document against the types in `schema`, and collects every error with its path.

`msgspec.convert` would stop at the first error, and does not know its line.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from msgspec import UNSET, Struct, inspect

from webhook.core.documents.document import Path
from webhook.core.formatting import quote
from webhook.core.policy.errors import ErrorCollector


def validate(value: Any, model: type[Struct], errors: ErrorCollector) -> Any:
    """Return the value as an instance of a struct.

    A key that is absent or invalid is UNSET, or an empty string if it is required; null is None where it is a value.
    """
    return _validate(_type_info(model), value, (), errors, "")


@cache
def _type_info(model: type[Struct]) -> inspect.Type:
    """Return msgspec's description of a struct: deriving it from the annotations takes longer than validating."""
    return inspect.type_info(model)


def _validate(expected: inspect.Type, value: Any, path: Path, errors: ErrorCollector, form: str) -> Any:
    """Return the value, or UNSET after adding an error; `form` is what the error calls the type."""
    if isinstance(expected, inspect.Metadata):
        extra = expected.extra or {}
        form = extra.get("form", form)
        if "words" in extra:
            return _word(extra["words"], value, path, errors, form)
        return _validate(expected.type, value, path, errors, form)
    if isinstance(expected, inspect.UnionType):  # with null
        return _validate(expected.types[0], value, path, errors, form)
    if isinstance(expected, inspect.EnumType):
        return _word([str(member.value) for member in expected.cls], value, path, errors, form)
    if isinstance(expected, inspect.LiteralType):
        return _word([str(word) for word in expected.values], value, path, errors, form)
    return _VALIDATORS[type(expected)](expected, value, path, errors, form)


def _struct(expected: inspect.StructType, value: Any, path: Path, errors: ErrorCollector, form: str) -> Any:
    valid: dict[str, Any] = {field.name: "" for field in expected.fields if field.required}
    if not isinstance(value, dict):
        errors.add(path, f"must be a map, not {_shown(value)}")
        return expected.cls(**valid)
    fields = {field.encode_name: field for field in expected.fields}
    for key, child in value.items():
        field = fields.get(key)
        if field is None:
            kind = form or "key"
            place = errors.misplaced(key, path)
            hint = (
                place
                if place.endswith("?")
                else f"{place}; the {kind}s {'here ' if place else ''}are {', '.join(fields)}"
            )
            errors.add(path, f"unknown {kind} {quote(key)}{errors.suggest(key, fields) or hint}", key=key)
        elif child is not None:
            parsed = _validate(field.type, child, (*path, key), errors, "")
            valid |= {} if parsed is UNSET else {field.name: parsed}
        elif _may_be_null(field.type):
            valid[field.name] = None
        elif not field.required:
            errors.add((*path, key), "must not be null; remove the key, or give it a value")
    for key, field in fields.items():
        if field.required and value.get(key) is None:
            errors.add(path, f"required key {quote(key)} is missing")
    return expected.cls(**valid)


def _may_be_null(expected: inspect.Type) -> bool:
    """Return whether null is a value, or leaves a section out: `rules:` above lines that are commented out."""
    while isinstance(expected, inspect.Metadata):
        expected = expected.type
    return isinstance(expected, inspect.UnionType | inspect.StructType | inspect.DictType | inspect.VarTupleType)


def _map(expected: inspect.DictType, value: Any, path: Path, errors: ErrorCollector, _: str) -> Any:
    if not isinstance(value, dict):
        return _invalid(errors, path, f"must be a map, not {_shown(value)}")
    values = {key: _validate(expected.value_type, child, (*path, key), errors, "") for key, child in value.items()}
    return {key: child for key, child in values.items() if child is not UNSET}


def _list(expected: inspect.VarTupleType, value: Any, path: Path, errors: ErrorCollector, _: str) -> Any:
    if not isinstance(value, list):
        return _invalid(errors, path, f"must be a list, not {_shown(value)}")
    if len(value) < (expected.min_length or 0):
        return _invalid(errors, path, "must not be empty")
    if len(value) > (expected.max_length or len(value)):
        return _invalid(errors, path, f"has {len(value)} entries, which exceeds the maximum of {expected.max_length}")
    values = [_validate(expected.item_type, item, (*path, number), errors, "") for number, item in enumerate(value)]
    return tuple(item for item in values if item is not UNSET)


def _text(expected: inspect.StrType, value: Any, path: Path, errors: ErrorCollector, form: str) -> Any:
    if isinstance(value, bool):  # YAML 1.1 has several words for each
        return _invalid(errors, path, f"must be {form}, but YAML reads this word as {_shown(value)}; put it in quotes")
    if isinstance(value, int | float):
        return _invalid(errors, path, f"must be {form}; put it in quotes: {quote(str(value).lower())}")
    is_valid = (
        isinstance(value, str)
        and len(value) <= (expected.max_length or len(value))
        and re.fullmatch(expected.pattern or ".*", value)
    )
    return value if is_valid else _invalid(errors, path, f"must be {form}, not {_shown(value)}")


def _number(expected: inspect.IntType, value: Any, path: Path, errors: ErrorCollector, _: str) -> Any:
    low, high = expected.ge or 0, expected.le or 0
    if type(value) is int and low <= value <= high:
        return value
    return _invalid(errors, path, f"must be a whole number from {low} to {high}, not {_shown(value)}")


def _flag(_: inspect.BoolType, value: Any, path: Path, errors: ErrorCollector, __: str) -> Any:
    return value if isinstance(value, bool) else _invalid(errors, path, f"must be true or false, not {_shown(value)}")


def _word(words: Sequence[str], value: Any, path: Path, errors: ErrorCollector, form: str) -> Any:
    if "off" in words and str(value).lower() in ("off", "false"):  # YAML 1.1 reads `off` as false
        return "off"
    if value in words:
        return value
    *others, last = words
    choice = f"{', '.join(others)} or {last}" if others else last
    hint = errors.suggest(value, words) if isinstance(value, str) else ""
    return _invalid(errors, path, f"{form} {_shown(value)}{hint or f'; use {choice}'}")


def _invalid(errors: ErrorCollector, path: Path, message: str) -> Any:
    errors.add(path, message)
    return UNSET


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    return "nothing" if value is None else quote(value) if isinstance(value, str) else str(value)


_VALIDATORS: dict[type[inspect.Type], Callable[..., Any]] = {
    inspect.StructType: _struct,
    inspect.DictType: _map,
    inspect.VarTupleType: _list,
    inspect.StrType: _text,
    inspect.IntType: _number,
    inspect.BoolType: _flag,
    inspect.AnyType: lambda _, value, *__: value,
}
