"""Replaces the variables of containers whose values come from a legacy Secret.

A variable with the token becomes a file, and a variable with the file's path: Kubernetes fills a variable once, and a
projected token expires. Its other keys have another source with the same value.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from webhook.core.formatting import quote
from webhook.core.json_patch import Put, Remove
from webhook.core.pod_context import ContainerRef
from webhook.migrate.plan_builder import Json, PlanBuilder, Reason

_OTHER_SOURCES: Mapping[str, tuple[str, Json]] = {
    "ca.crt": ("configMapKeyRef", {"name": "kube-root-ca.crt", "key": "ca.crt"}),
    "namespace": ("fieldRef", {"apiVersion": "v1", "fieldPath": "metadata.namespace"}),
}
"""The field of `valueFrom` that gives the value of a key without the Secret, and its value."""
_SUFFIXES = ("_FILE", "_PATH", *(f"_FILE_{number}" for number in range(2, 1000)))


def plan_variables(builder: PlanBuilder, ref: ContainerRef) -> None:
    """Add the variables of a container that name a legacy Secret."""
    tokens = builder.context.legacy_tokens
    counts = Counter(variable.name for variable in ref.container.env or ())
    for number, variable in enumerate(ref.container.env or ()):
        reference = variable.value_from.secret_key_ref if variable.value_from else None
        secret = reference.name if reference else None
        if secret is None or secret not in tokens:
            continue
        pointer = f"{ref.pointer}/env/{number}"
        if counts[variable.name] > 1:
            builder.leave(pointer, secret, Reason.NO_EQUIVALENT, "several variables have its name")
        else:
            _plan_variable(builder, ref, pointer, variable.name or "", secret)
    _plan_env_from(builder, ref)


def _plan_variable(builder: PlanBuilder, ref: ContainerRef, pointer: str, variable: str, secret: str) -> None:
    field = f"{pointer}/valueFrom/secretKeyRef"
    key = str(builder.raw(field).get("key"))
    if key in _OTHER_SOURCES:
        kind, source = _OTHER_SOURCES[key]
        builder.edits += (Put(f"{pointer}/valueFrom/{kind}", source), Remove(field))
        builder.change(pointer, secret, _variable(ref, variable), _same_value(kind, source))
    elif key != "token":
        builder.leave(pointer, secret, Reason.NO_EQUIVALENT, f"it reads the key {quote(key)}")
    elif builder.is_own(pointer, secret):
        builder.edits.append(Remove(pointer))
        _add_path_variable(builder, ref, pointer, variable, secret)


def _plan_env_from(builder: PlanBuilder, ref: ContainerRef) -> None:
    pointer = f"{ref.pointer}/envFrom"
    entries: list[Json] = builder.raw(pointer) or []
    remaining: list[Json] = []
    for number, entry in enumerate(entries):
        secret = str(((entry or {}).get("secretRef") or {}).get("name"))
        entry_pointer = f"{pointer}/{number}"
        if secret not in builder.context.legacy_tokens or not builder.is_own(entry_pointer, secret):
            remaining.append(entry)
            continue
        prefix = entry.get("prefix") or ""
        for key, (kind, source) in _OTHER_SOURCES.items():
            if builder.add_variable(ref, f"{prefix}{key}", {"valueFrom": {kind: source}}):
                builder.change(entry_pointer, secret, _variable(ref, prefix + key), _same_value(kind, source))
        _add_path_variable(builder, ref, entry_pointer, f"{prefix}token", secret)
    if len(remaining) < len(entries):
        builder.edits.append(Put(pointer, remaining, replaces=True) if remaining else Remove(pointer))


def _add_path_variable(builder: PlanBuilder, ref: ContainerRef, pointer: str, variable: str, secret: str) -> None:
    """Mount a token, and set a variable to the path of its file."""
    file = builder.mount_token(ref)
    new = next(
        name for name in (variable + suffix for suffix in _SUFFIXES) if builder.add_variable(ref, name, {"value": file})
    )
    after = f"removed; {quote(new)} is the path of a file with a token: {quote(file)}"
    builder.change(pointer, secret, f"{_variable(ref, variable)} with the token", after)
    builder.task(
        ref, f"read the token from the file that {quote(new)} names, again for each use; {quote(variable)} is not set"
    )
    for expansion in _expansions(builder.raw(ref.pointer), variable):
        path = builder.path(f"{ref.pointer}{expansion}")
        builder.task(ref, f"{quote(path)} contains {quote(f'$({variable})')}, which will not be replaced: change it")


def _expansions(container: Any, variable: str) -> Iterator[str]:
    """Yield the pointers, in a container, of texts in which Kubernetes replaces `$(variable)`; never the texts."""
    wanted = f"$({variable})"
    for field in ("command", "args"):
        for number, text in enumerate(container.get(field) or ()):
            if wanted in str(text):
                yield f"/{field}/{number}"
    for number, entry in enumerate(container.get("env") or ()):
        if wanted in str((entry or {}).get("value")):
            yield f"/env/{number}"


def _variable(ref: ContainerRef, name: str) -> str:
    return f"variable {quote(name)} of container {quote(ref.container.name or '')}"


def _same_value(kind: str, source: Json) -> str:
    origin = (
        f"ConfigMap {quote(source['name'])}" if kind == "configMapKeyRef" else f"field {quote(source['fieldPath'])}"
    )
    return f"the same value, from {origin}"
