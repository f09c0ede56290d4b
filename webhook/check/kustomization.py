"""Which files are patches of a kustomization: parts of objects, which are complete only after `kustomize build`."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from webhook.check.report import ParsedFile
from webhook.core.documents.document import DocumentError
from webhook.core.documents.stream import decode_text, split
from webhook.core.documents.yaml_reader import read_yaml

FILE_NAMES = frozenset({"kustomization.yaml", "kustomization.yml"})
"""The names that kustomize looks for; such a file may lack apiVersion and kind."""
_KEYS = ("patches", "patchesStrategicMerge", "patchesJson6902")


def patch_files(files: Iterable[ParsedFile]) -> frozenset[str]:
    """Return the normalised paths of the files that kustomizations among the files name as patches."""
    return frozenset(
        os.path.normpath(Path(file.source.path).parent / name)
        for file in files
        if Path(file.source.path).name in FILE_NAMES
        for name in _patches(file.data)
    )


def _patches(data: bytes) -> Iterator[str]:
    for piece in split(decode_text(data)):
        try:
            _, value = read_yaml(piece.text, piece.first_line, 1)
        except DocumentError:
            continue
        yield from _names(value if isinstance(value, dict) else {})


def _names(kustomization: dict[str, Any]) -> Iterator[str]:
    for key in _KEYS:
        patches = kustomization.get(key)
        for patch in patches if isinstance(patches, list) else ():
            name = patch.get("path") if isinstance(patch, dict) else patch
            if isinstance(name, str) and "\n" not in name:  # else it is the patch itself
                yield name
