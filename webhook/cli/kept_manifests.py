"""The folder with the manifests of deleted Secrets: by them it is known what `legacy delete` has deleted before."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from webhook.atomic_write import replace_file_durably
from webhook.core.documents.yaml_writer import write_document
from webhook.legacy.retirable import RetirableSecret


class KeptManifests:
    """A file `NAMESPACE/NAME.UID.yaml` for each Secret."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is created with the first file."""
        self._folder = folder

    def write(self, secret: RetirableSecret, manifest: dict[str, Any]) -> None:
        """Write the manifest of a Secret for its owner only; it is on disk then. Raises `OSError`."""
        folder = self._folder / secret.namespace
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = folder / f"{secret.name}.{secret.uid}.yaml"
        replace_file_durably(file, [write_document(manifest).encode()])
        for unfinished in folder.glob(f"{file.name}.*"):  # of a process that was killed
            unfinished.unlink(missing_ok=True)

    def among(self, titles: Iterable[str]) -> frozenset[str]:
        """Return those Secrets, as `namespace/name`, whose manifest is here."""
        return frozenset(filter(self._has, titles))

    def _has(self, title: str) -> bool:
        namespace, _, name = title.partition("/")
        files = (self._folder / namespace).glob(f"{name}.*.yaml")
        return any(file.stem.rpartition(".")[0] == name for file in files)
