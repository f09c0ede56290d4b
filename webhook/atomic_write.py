"""Replaces files atomically."""

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

OWNER_ONLY, WORLD_READABLE = 0o600, 0o644
"""File modes: for the owner only, or readable by everybody."""


class FileContent(NamedTuple):
    """The content of a file, in pieces, and its mode, which the umask may reduce."""

    pieces: Iterable[bytes]
    mode: int = OWNER_ONLY


def replace_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file for its owner only; readers see either the old or the new content.

    Raises `OSError`, and then leaves the old file as it is.
    """
    replace_files({path: FileContent(pieces)})


def replace_file_durably(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file as `replace_file` does, so that it survives a power cut after the return. Raises `OSError`."""
    replace_files({path: FileContent(pieces)}, durably=True)


def replace_files(files: Mapping[Path, FileContent], *, durably: bool = False) -> None:
    """Write files as `replace_file` does; none is replaced before all are written. Raises `OSError`."""
    with contextlib.ExitStack() as unwritten:
        fresh: dict[Path, Path] = {}
        for path, content in files.items():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            fresh[path] = path.with_name(f"{path.name}.{os.getpid()}")
            fresh[path].unlink(missing_ok=True)  # left over from a process with the same id
            unwritten.callback(fresh[path].unlink, missing_ok=True)
            fresh[path].touch(content.mode, exist_ok=False)
            with fresh[path].open("wb") as file:
                file.writelines(content.pieces)
                if durably:
                    file.flush()
                    os.fsync(file.fileno())
        for path, written in fresh.items():
            written.replace(path)
    if durably:
        for folder in {path.parent for path in files}:
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder written to disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
