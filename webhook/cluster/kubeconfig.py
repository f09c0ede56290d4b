"""Finds mistakes in a kubeconfig before the client uses it, and reports them in kubectl's words.

The official client raises exceptions of many kinds, some of which quote the user's whole entry, token and all, and it
ignores others: a credential plugin that does not exist, for example. No message here quotes credentials.
"""

import base64
import binascii
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from webhook.cluster.transport import ApiError
from webhook.core.formatting import did_you_mean, failure_text, listing, quote

_LISTS = ("clusters", "contexts", "users")
_FILES = {"cluster": ("certificate-authority",), "user": ("client-certificate", "client-key", "tokenFile")}


class _Entry(NamedTuple):
    """A cluster, context or user, and the file that defines it."""

    file: Path
    value: Mapping[str, Any]


def find_context(paths: Path, name: str | None) -> str:
    """Return the name of the context, the current one for None, after checking what it refers to.

    `paths` are several files, separated by colons, as in $KUBECONFIG; the first that defines something wins. Raises
    `ApiError`.
    """
    names = [Path(path).expanduser() for path in str(paths).split(os.pathsep) if path]
    files = {path: _load(path) for path in names if path.exists() or len(names) == 1}
    if not files:
        raise ApiError(0, f"{paths}: no such file or directory")
    context = name or next(
        (config["current-context"] for config in files.values() if config.get("current-context")), ""
    )
    contexts = dict(_entries(files, "contexts"))
    if not context:
        hint = f"use --context with one of {listing(contexts)}" if contexts else "it has no contexts"
        raise ApiError(0, f"{paths}: no current context is set; {hint}")
    if context not in contexts:
        hint = did_you_mean(str(context), contexts) or f"; there are {listing(contexts)}"
        raise ApiError(0, f"{paths}: context {quote(str(context))} does not exist{hint}")
    for kind in ("cluster", "user"):
        _check(kind, context, contexts[context], dict(_entries(files, f"{kind}s")))
    return str(context)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ApiError(0, f"{path}: {failure_text(error)}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ApiError(0, f"{path}{line}: error loading config file: it is not valid YAML") from None
    if config is None:
        return {}
    if not isinstance(config, dict) or config.get("kind", "Config") != "Config":
        raise ApiError(0, f"{path}: error loading config file: it is not a kubeconfig")
    for key in _LISTS:
        entries = config.get(key) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "name" in entry for entry in entries):
            raise ApiError(0, f"{path}: error loading config file: {key} is not a list of entries with names")
    return config


def _entries(files: Mapping[Path, Mapping[str, Any]], key: str) -> Iterator[tuple[str, _Entry]]:
    """Yield the entries of a list in all files by name, those of the first file last."""
    for path, config in reversed([*files.items()]):
        for entry in config.get(key) or []:
            value = entry.get(key.removesuffix("s"))
            yield str(entry["name"]), _Entry(path, value if isinstance(value, dict) else {})


def _check(kind: str, context: str, selected: _Entry, entries: Mapping[str, _Entry]) -> None:
    """Check the cluster or the user of a context."""
    name = str(selected.value.get(kind) or "")
    if kind == "user" and not name:
        return
    if name not in entries:
        missing = f"{kind} {quote(name)} does not exist" if name else f"names no {kind}"
        raise ApiError(0, f"{selected.file}: context {quote(str(context))}: {missing}")
    file, value = entries[name]
    where = f"{file}: {kind} {quote(name)}"
    if kind == "cluster" and not value.get("server"):
        raise ApiError(0, f"{where}: has no server")
    for key in _FILES[kind]:
        if value.get(f"{key}-data"):
            _check_data(f"{where}: {key}-data", value[f"{key}-data"])
        elif value.get(key) and not (key == "tokenFile" and value.get("token")):
            _check_file(f"{where}: unable to read {key}", file.parent / str(value[key]))
    if isinstance(value.get("exec"), dict):
        _check_plugin(where, file.parent, value["exec"])


def _check_file(where: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ApiError(0, f"{where} {path}: {failure_text(error)}") from error


def _check_data(where: str, data: Any) -> None:
    try:
        decoded = base64.b64decode("".join(str(data).split()), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(0, f"{where}: illegal base64 data") from None
    if b"-----BEGIN " not in decoded:
        raise ApiError(0, f"{where}: no PEM data")


def _check_plugin(where: str, folder: Path, plugin: Mapping[str, Any]) -> None:
    """Check that a credential plugin is installed; a relative path in its name is relative to the kubeconfig."""
    command = str(plugin.get("command") or "")
    program = shutil.which(str(folder / command) if os.sep in command else command) if command else None
    if not program:
        hint = " ".join(str(plugin.get("installHint") or "").split())
        raise ApiError(0, f"{where}: exec: executable {command or '(none)'} not found{f'; {hint}' if hint else ''}")
