"""Files in the server's private folder, which its processes have in common."""

import os
from collections.abc import Iterable
from pathlib import Path


def replace_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that this user alone can read. Whoever reads it meanwhile has all of the old one or of the new one.

    Raises `OSError` where it can't be written, and then leaves the old one as it is.
    """
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        fresh.touch(mode=0o600)
        with fresh.open("wb") as file:
            file.writelines(pieces)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
