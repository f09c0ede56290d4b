"""Files and maps with the state of the cluster: objects that rules look up and that are not evaluated themselves."""

from collections.abc import Iterator

import msgspec

from webhook.check.unknown_fields import misspelt_fields
from webhook.check.unknown_kinds import type_error
from webhook.core.decode_errors import explain_decode_error
from webhook.core.documents.document import Path, pointer_of
from webhook.core.formatting import did_you_mean
from webhook.core.json_patch import json_path
from webhook.core.k8s_types import Namespace, Object
from webhook.core.manifests import Manifest, Problem, read_manifests
from webhook.core.token_objects import Secret, ServiceAccount

_KINDS: dict[str, type[Object]] = {kind.__name__: kind for kind in (Namespace, Secret, ServiceAccount)}


def read_cluster_objects(data: bytes) -> tuple[list[Manifest], list[Problem]]:
    """Return the objects in a file, and everything that is wrong with them, by line.

    Objects of other kinds than the state consists of are allowed, and have no effect.
    """
    reading = read_manifests(data)
    problems = list(reading.problems)
    for manifest in reading.manifests:
        for path, message in state_mistakes(manifest, in_file=True):
            problems.append(Problem(manifest.line_of(pointer_of(path)), message, manifest.document))
    if not problems and not any(manifest.kind in _KINDS for manifest in reading.manifests):
        problems.append(Problem(1, "contains no Secret, Namespace or ServiceAccount", 1))
    return list(reading.manifests), sorted(problems, key=lambda problem: problem.line)


def state_mistakes(manifest: Manifest, *, in_file: bool) -> Iterator[tuple[Path, str]]:
    """Yield why an object is no state of a cluster, each with its path in the object.

    `in_file`: a file may have objects of other kinds beside them.
    """
    model = _KINDS.get(manifest.kind)
    if model is None or manifest.api_version != "v1":
        message = type_error(manifest)[1]
        if model or not in_file:
            hint = "" if model else did_you_mean(manifest.kind, _KINDS)
            hint = hint or "; use a Secret, Namespace or ServiceAccount of apiVersion v1"
            message = message or f"{manifest.kind} of {manifest.api_version} is no state of the cluster{hint}"
        if message:
            yield (), message
        return
    try:
        obj = msgspec.json.decode(manifest.raw, type=model)
    except msgspec.DecodeError as error:
        pointer, message = explain_decode_error(error, manifest.raw)
        yield (), f"{json_path(pointer) or 'it'} {message}"
        return
    misspelt = list(misspelt_fields(msgspec.json.decode(manifest.raw), obj))
    yield from misspelt
    if not manifest.name and not misspelt:
        yield (), f"{manifest.kind} has no metadata.name"
