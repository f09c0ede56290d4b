"""Files that are followed while the server runs: what was last seen of each, and when to read it again.

A mounted ConfigMap or Secret is swapped by symlinks, so nothing is watched: about twice a second it is asked
whether the path leads to another file, or that file has changed. Content that can't be used leaves what was in
force before as it is.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from webhook.files import replace_file

log = logging.getLogger("tokenguard.files")
INTERVAL = 0.5

Accept = Callable[..., bytes | tuple[str, ...]]
"""Takes the files' contents, puts them in force and returns what to keep of them; or returns what is wrong with
them, a line for each mistake."""

_Fingerprint = tuple[tuple[str, int, int, int], ...] | None


@dataclass
class Followed:
    """One or more files that are used together.

    `what` says what they hold, for the log. `accept` uses their contents; what it returns is kept in `folder`, and
    `restore` uses that again in a worker that starts while the files are bad. `rejected` is called with the reason why
    they were not used, `counted` with whether they were. `where` says where they are from, for the log, if their paths
    are of no use to people. Content that only `stands_in` for what is to come is neither logged nor counted.
    """

    what: str
    paths: tuple[Path, ...]
    folder: Path
    accept: Accept
    restore: Callable[[bytes], object]
    rejected: Callable[[str], None] = lambda _why: None
    counted: Callable[[bool], None] = lambda _accepted: None
    where: str = ""
    stands_in: Callable[[], bool] = lambda: False
    _seen: _Fingerprint = ()
    _examined: str = ""
    _rejected: tuple[str, ...] = ()
    _in_force: str = field(default="", init=False)

    @property
    def loaded(self) -> bool:
        """Whether anything of them is in force."""
        return bool(self._in_force)

    def look(self) -> None:
        """Read the files if they have changed since the last look, and use what they hold."""
        seen = self._fingerprint()
        if seen == self._seen:
            return
        first = self._seen == ()
        self._seen = seen
        try:
            contents = [path.read_bytes() for path in self.paths]
        except OSError as error:
            self._try_again(error)
            return
        if self._fingerprint() != seen:  # changed while it was read: half of it may be old, so look again
            self._seen = None
            return
        digest = _digest(contents)
        if digest == self._examined:
            return
        self._examined = digest
        try:
            accepted = self.accept(*contents)
        except OSError as error:
            self._try_again(error)
            return
        if isinstance(accepted, tuple):
            self._reject(accepted)
            return
        self._in_force = _digest([accepted])
        self._rejected = ()
        replace_file(self._kept, [accepted])
        if not self.stands_in():
            log.info("%s %s: %s", self.what, "loaded" if first else "reloaded", self._where)
            self.counted(True)  # noqa: FBT003 - the callable's one argument

    def _try_again(self, error: OSError) -> None:
        """Go on without the files for now: a lack (of open files, of room on a disk) says nothing of their content."""
        self._seen = None
        self._examined = ""
        self._reject((f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror),))

    def _reject(self, mistakes: tuple[str, ...]) -> None:
        self._fall_back()
        more = f" (and {len(mistakes) - 1} more mistakes)" if len(mistakes) > 1 else ""
        self.rejected(f"{self.what} not loaded: {mistakes[0]}{more}")
        stays = "the last good one stays in force" if self.loaded else "there is none to judge by yet"
        if mistakes == self._rejected:  # a lack is tried again twice a second
            return
        self._rejected = mistakes
        for mistake in mistakes:
            log.error("%s not used: %s", self.what, mistake)
        log.error("%s %s has %d mistake(s); %s", self.what, self._where, len(mistakes), stays)
        self.counted(False)  # noqa: FBT003 - the callable's one argument

    def _fall_back(self) -> None:
        """Use what this worker's predecessor has accepted before the files went bad."""
        if not self._kept.exists():
            return
        content = self._kept.read_bytes()
        digest = _digest([content])
        if digest != self._in_force:
            self.restore(content)
            self._in_force = digest
            log.warning("%s %s can't be used: the last good one was kept, and is taken up", self.what, self._where)

    def _fingerprint(self) -> _Fingerprint:
        try:
            return tuple(
                (os.path.realpath(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)
                for path in self.paths
                for stat in (path.stat(),)
            )
        except OSError:
            return None

    @property
    def _kept(self) -> Path:
        return self.folder / f"{self.what}.kept"

    @property
    def _where(self) -> str:
        return self.where or ", ".join(str(path) for path in self.paths)


class Followable(Protocol):
    """What a `Follower` looks at, and what it is, for the log."""

    @property
    def what(self) -> str:
        """What it is."""
        ...

    def look(self) -> None:
        """Read it if it has changed."""
        ...


class Follower:
    """One daemon thread that looks after all files of a process."""

    def __init__(self, files: Iterable[Followable], interval: float = INTERVAL) -> None:
        """Take the files; `interval` is in seconds."""
        self._files = tuple(files)
        self._interval = interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Look at every file now. What goes wrong with one holds up none of the others."""
        for file in self._files:
            try:
                file.look()
            except Exception:
                log.exception("%s: looking at it failed", file.what)

    def start(self) -> None:
        """Look once, then go on looking in the background."""
        self.look()
        if self._files and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tokenguard-follower", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self.look()


def _digest(contents: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()
