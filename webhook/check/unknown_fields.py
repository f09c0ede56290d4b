"""Fields of an object that Kubernetes does not know, or that are probably misspelt.

Of the pods and workloads of Kubernetes itself every field is known, down to those that rules read. The API server drops
unknown fields or refuses the object; the objects of test cases are never sent there.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, inspect

from webhook.check.input_files import InputProblem
from webhook.check.kubernetes_fields import OTHER_FIELDS
from webhook.check.report import ManifestEvaluation
from webhook.check.source_map import SourceMap
from webhook.core.documents.document import Path, pointer_of
from webhook.core.formatting import did_you_mean, quote
from webhook.core.json_patch import json_path
from webhook.core.k8s_types import CronJob, CustomWorkload, Pod, Workload
from webhook.core.manifests import Manifest

_LEVELS = ("spec", "template", "jobTemplate", "valueFrom", "projected", "serviceAccountToken", "metadata")
"""Fields that are easily left out, so that what belongs below them is one level too high."""


class _Shape(NamedTuple):
    """The fields of a type: those that rules read, each with the shape of its value or its items, and the others.

    `others` is None if these are not known.
    """

    read: Mapping[str, "_Shape | None"]
    others: frozenset[str] | None


def field_warnings(
    evaluation: ManifestEvaluation, raw: bytes, decoded: object, source_of: Callable[[Manifest], SourceMap]
) -> Iterator[InputProblem]:
    """Yield a warning for each unknown field of an object, as JSON and decoded, with its place in the file."""
    manifest = evaluation.manifest
    for path, message in unknown_fields(raw, decoded):
        within = ": ".join(filter(None, (evaluation.title, json_path(pointer_of(path[:-1])))))
        yield evaluation.problem_at(pointer_of(path), f"{within}: {message}", source_of(manifest))


def unknown_fields(raw: bytes, decoded: object) -> list[tuple[Path, str]]:
    """Return the path of each field that Kubernetes does not know, with a message; `decoded` is what rules read.

    There are none in an object that is no pod or workload of Kubernetes itself: it may have any fields.
    """
    if not isinstance(decoded, Pod | Workload | CronJob):
        return []
    try:
        _strict_decoder(type(decoded)).decode(raw)
    except msgspec.DecodeError:
        return list(_unknown(_shape(type(decoded)), msgspec.json.decode(raw), (), misspelt_only=False))
    return []


def misspelt_fields(obj: dict[str, Any], decoded: object) -> Iterator[tuple[Path, str]]:
    """Yield the path of each unknown field whose name is close to a known one; `decoded` is what rules read."""
    path: Path = ()
    value: Any = obj
    model: type[Struct] | None = type(decoded) if isinstance(decoded, Struct) else None
    if isinstance(decoded, CustomWorkload):
        model = Pod
        path = tuple(decoded.template_pointer.split("/")[1:])
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
    if model is not None:
        yield from _unknown(_shape(model), value, path, misspelt_only=True)


def _unknown(shape: _Shape, value: Any, path: Path, *, misspelt_only: bool) -> Iterator[tuple[Path, str]]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown(shape, item, (*path, number), misspelt_only=misspelt_only)
    elif isinstance(value, dict) and (shape.others is not None or misspelt_only):
        others = shape.others or frozenset()
        for key, child in value.items():
            if below := shape.read.get(key):
                yield from _unknown(below, child, (*path, key), misspelt_only=misspelt_only)
            elif key not in shape.read and key not in others:
                missing = [name for name in (*shape.read, *others) if name not in value]
                hint = _level_hint(shape, key) or did_you_mean(key, sorted(missing))
                if hint or not misspelt_only:
                    yield (*path, key), f"unknown field {quote(key)}{hint}"


def _level_hint(shape: _Shape, key: str) -> str:
    """Return a 'did you mean' for a field that belongs below one that was left out; empty if it is none."""
    for levels in _left_out(shape, ()):
        if key in levels[-1][1].read:
            return f"; did you mean {quote('.'.join([*(name for name, _ in levels), key]))}?"
    return ""


def _left_out(shape: _Shape, above: tuple[tuple[str, _Shape], ...]) -> Iterator[tuple[tuple[str, _Shape], ...]]:
    for name in _LEVELS:
        if below := shape.read.get(name):
            levels = (*above, (name, below))
            yield levels
            yield from _left_out(below, levels)


@cache
def _shape(model: type[Struct]) -> _Shape:
    read = {name: below and _shape(below[0]) for name, below in _fields(model)}
    return _Shape(read, frozenset(OTHER_FIELDS[model][1].split()) if model in OTHER_FIELDS else None)


@cache
def _strict_decoder(model: type[Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_strict_type(model))


@cache
def _strict_type(model: type[Struct]) -> type[Struct]:
    """Return a type that rejects unknown fields down to what rules read: far cheaper than to look at each."""
    fields: list[tuple[str, Any, Any]] = []
    for name, below in _fields(model):
        strict: Any = msgspec.Raw
        if below and below[0] in OTHER_FIELDS:
            item = _strict_type(below[0])
            strict = (list[item | None] if below[1] else item) | None  # type: ignore[valid-type]
        fields.append((name, strict, None))
    fields += ((name, msgspec.Raw, None) for name in OTHER_FIELDS[model][1].split())
    return msgspec.defstruct(model.__name__, fields, forbid_unknown_fields=True, gc=False)


def _fields(model: type[Struct]) -> Iterator[tuple[str, tuple[type[Struct], bool] | None]]:
    """Yield the name of each field, with the type below it, and whether that is of the items of a list."""
    info = inspect.type_info(model)
    for field in info.fields if isinstance(info, inspect.StructType) else ():
        kind = field.type
        if isinstance(kind, inspect.UnionType):  # with null
            kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
        item = kind.item_type if isinstance(kind, inspect.ListType) else kind
        yield field.encode_name, (item.cls, item is not kind) if isinstance(item, inspect.StructType) else None
