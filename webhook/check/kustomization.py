"""Which files a kustomization names that are no objects: patches, which are parts of objects, and its own files."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

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


def named_files(files: Iterable[ParsedFile]) -> dict[str, str]:
    """Return why files that kustomizations among the files name are not evaluated, by their normalised paths."""
    return {
        os.path.normpath(Path(file.source.path).parent / name): reason
        for file in files
        if Path(file.source.path).name in FILE_NAMES
        for name, reason in _names(file.data)
    }


def _names(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the names in a kustomization, each with the reason."""
    for piece in split(decode_text(data)):
        try:
            _, value = read_yaml(piece.text, piece.first_line, 1)
        except DocumentError:
            continue
        for key, reason in _REASONS.items():
            entries = value.get(key) if isinstance(value, dict) else None
            for entry in entries if isinstance(entries, list) else [entries]:
                name = entry.get("path") if isinstance(entry, dict) else entry
                if isinstance(name, str) and "\n" not in name:  # else it is the content itself
                    yield name, reason
