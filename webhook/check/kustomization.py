"""What a kustomization does: which files it names that are no objects, what it changes, and what it includes."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from webhook.check.report import KUSTOMIZE_PATCHES, TOOL_FILES, ParsedFile
from webhook.core.documents.document import DocumentError
from webhook.core.documents.stream import decode_text, split
from webhook.core.documents.yaml_reader import read_yaml

FILE_NAMES = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
"""The names that kustomize looks for; such a file may lack apiVersion and kind."""
_REASONS = {
    **dict.fromkeys(("patches", "patchesStrategicMerge", "patchesJson6902"), KUSTOMIZE_PATCHES),
    **dict.fromkeys(
        ("configurations", "generators", "openapi", "replacements", "transformers", "validators"), TOOL_FILES
    ),
}
"""The keys that name files, and why these are not evaluated."""
_CHANGES = (
    "components", "configMapGenerator", "generators", "helmCharts", "namePrefix", "nameSuffix", "namespace", "patches",
    "patchesJson6902", "patchesStrategicMerge", "replacements", "secretGenerator", "transformers",
)  # fmt: skip
"""The keys by which a kustomization changes objects of files, or adds objects that no file contains."""
_INCLUDES = ("bases", "components", "resources")
"""The keys that name other kustomizations, by their folders."""


class Kustomization(NamedTuple):
    """A kustomization: its file, the keys by which it makes other objects than files contain, and what it includes.

    `included` are normalised paths of folders and files.
    """

    path: str
    changes: tuple[str, ...]
    included: frozenset[str]

    @property
    def folder(self) -> str:
        """The folder to build."""
        return str(Path(self.path).parent)


def kustomizations(files: Iterable[ParsedFile]) -> Iterator[Kustomization]:
    """Yield the kustomizations among the files."""
    for file in files:
        path = file.source.path
        if Path(path).name not in FILE_NAMES:
            continue
        values = list(_documents(file.data))
        changes = sorted({key for value in values for key in _CHANGES if value.get(key)})
        names = [name for value in values for key in _INCLUDES for name in _strings(value.get(key))]
        yield Kustomization(
            path, tuple(changes), frozenset(os.path.normpath(Path(path).parent / name) for name in names)
        )


def to_build(given: Iterable[Kustomization]) -> list[Kustomization]:
    """Return the kustomizations that make other objects than files contain and that no other one includes."""
    by_folder = {os.path.normpath(each.folder): each for each in given}
    included = {folder for each in by_folder.values() for folder in each.included}
    roots = [folder for folder in by_folder if folder not in included]
    return [by_folder[folder] for folder in roots if _changes_below(folder, by_folder)]


def _changes_below(folder: str, by_folder: dict[str, Kustomization]) -> bool:
    """Return whether a kustomization, or one that it includes, changes or adds objects."""
    pending, seen = [folder], {folder}
    while pending:
        kustomization = by_folder[pending.pop()]
        if kustomization.changes:
            return True
        pending += (kustomization.included & by_folder.keys()) - seen
        seen |= kustomization.included
    return False


def _strings(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def named_files(files: Iterable[ParsedFile]) -> dict[str, str]:
    """Return why files that kustomizations among the files name are not evaluated, by their normalised paths."""
    return {
        os.path.normpath(Path(file.source.path).parent / name): reason
        for file in files
        if Path(file.source.path).name in FILE_NAMES
        for name, reason in _names(file.data)
    }


def _documents(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the mappings in a file."""
    for piece in split(decode_text(data)):
        with contextlib.suppress(DocumentError):
            _, value = read_yaml(piece.text, piece.first_line, 1)
            if isinstance(value, dict):
                yield value


def _names(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the names in a kustomization, each with the reason."""
    for value in _documents(data):
        for key, reason in _REASONS.items():
            entries = value.get(key)
            for entry in entries if isinstance(entries, list) else [entries]:
                name = entry.get("path") if isinstance(entry, dict) else entry
                if isinstance(name, str) and "\n" not in name:  # else it is the content itself
                    yield name, reason
