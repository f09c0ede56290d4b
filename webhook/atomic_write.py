"""Files that are replaced as a whole."""

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

OWN, READABLE = 0o600, 0o644
"""Modes: for this user alone, and for everybody to read."""


class Content(NamedTuple):
    """What a file is to hold, and its mode, as far as the process's umask allows it."""

    pieces: Iterable[bytes]
    mode: int = OWN


def replace_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that this user alone can read. Whoever reads it meanwhile has all of the old one or of the new one.

    Raises `OSError` where it can't be written, and then leaves the old one as it is.
    """
    replace_files({path: Content(pieces)})


def replace_files(files: Mapping[Path, Content]) -> None:
    """Write files as `replace_file` does: none is replaced before there is room for all. Raises `OSError`."""
    with contextlib.ExitStack() as unwritten:
        fresh: dict[Path, Path] = {}
        for path, content in files.items():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            fresh[path] = path.with_name(f"{path.name}.{os.getpid()}")
            fresh[path].unlink(missing_ok=True)  # a process before may have had this one's number
            unwritten.callback(fresh[path].unlink, missing_ok=True)
            fresh[path].touch(content.mode, exist_ok=False)
            with fresh[path].open("wb") as file:
                file.writelines(content.pieces)
        for path, written in fresh.items():
            written.replace(path)
