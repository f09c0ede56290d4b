"""Saying a thing once, although every worker process learns of it."""

import fcntl
import hashlib
from pathlib import Path

_MOST_REMEMBERED = 100


class Once:
    """What has been told, in a file that the workers have in common."""

    def __init__(self, file: Path) -> None:
        """Take the file's path; it is made when it is needed."""
        self._file = file

    def first(self, news: str) -> bool:
        """Say whether nobody has told this line before, and note that it is told now.

        Workers may learn of things in another order, so more than the last line is remembered, each by its hash.
        """
        news = hashlib.sha256(news.encode()).hexdigest()
        with self._file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            told = file.read().splitlines()
            if news in told:
                return False
            file.truncate(0)
            file.write("\n".join([*told, news][-_MOST_REMEMBERED:]))
            return True
