"""Which files a kustomization names that are no objects: patches, which are parts of objects, and its own files."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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


def changing_kustomizations(files: Iterable[ParsedFile]) -> Iterator[tuple[str, list[str]]]:
    """Yield the path of each kustomization that makes other objects than the files contain, and the keys that do."""
    for file in files:
        if Path(file.source.path).name in FILE_NAMES:
            keys = sorted({key for value in _documents(file.data) for key in _CHANGES if value.get(key)})
            if keys:
                yield file.source.path, keys


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
