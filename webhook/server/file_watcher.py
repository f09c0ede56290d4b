"""Watches files: uses new content, rejects invalid content, and keeps the last valid content for the next worker.

A mounted ConfigMap or Secret is replaced by way of symlinks, so paths are polled, not watched by inode.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from webhook.atomic_write import replace_file
from webhook.core.formatting import failure_text

log = logging.getLogger("tokenguard.files")
INTERVAL = 0.5

_Fingerprint = tuple[tuple[str, int, int, int], ...] | None
_UNCHECKED: _Fingerprint = ()


class RejectedError(Exception):
    """Content is invalid; the arguments are its errors, a line each."""


@dataclass
class WatchedFiles:
    """One or more files that are used together; `name` and `source` describe them in messages.

    `use` applies their contents and returns the bytes to store in `folder`, or raises `RejectedError`. A worker that
    starts with invalid files applies the stored bytes by `restore`, or by `use` if there is none. `on_error` is called
    with the name and the reason why files are not used, `count` with the name and whether they are. Nothing is logged
    or counted for a placeholder.
    """

    name: str
    paths: Sequence[Path]
    use: Callable[..., bytes]
    folder: Path
    count: Callable[[str, bool], None]
    restore: Callable[[bytes], object] | None = None
    on_error: Callable[[str, str], object] = lambda _name, _reason: None
    source: str = ""
    is_placeholder: Callable[[], bool] = lambda: False
    _seen: _Fingerprint = _UNCHECKED
    _stored: _Fingerprint = _UNCHECKED
    _errors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Describe the files by their paths if there is no better source."""
        self.source = self.source or ", ".join(map(str, self.paths))
        self._store = self.folder / f"{self.name}.stored"

    @property
    def is_loaded(self) -> bool:
        """Whether any content is in use."""
        return self._stored != _UNCHECKED

    def check(self) -> None:
        """Read and use the files if they have changed since the last check."""
        fingerprint = _fingerprint(*self.paths)
        if fingerprint == self._seen:
            return
        self._seen = fingerprint
        try:
            contents = [path.read_bytes() for path in self.paths]
            if _fingerprint(*self.paths) != fingerprint:  # one may be old and another new
                self._seen = None
                return
            stored = self.use(*contents)
        except RejectedError as error:
            self._reject(error.args)
        except OSError as error:  # the content may be valid: try again
            self._seen = None
            reason = f"{error.filename}: {failure_text(error)}" if error.filename else failure_text(error)
            self._reject((reason,), state="cannot be read")
        else:
            self._accept(stored)

    def _accept(self, stored: bytes) -> None:
        verb = "reloaded" if self.is_loaded else "loaded"
        self._errors = ()
        replace_file(self._store, [stored])
        self._stored = _fingerprint(self._store)
        if not self.is_placeholder():
            log.info("%s %s: %s", self.name, verb, self.source)
            self.count(self.name, True)

    def _reject(self, errors: tuple[str, ...], state: str = "is invalid") -> None:
        self._restore_stored()
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        self.on_error(self.name, f"{self.name} not loaded: {errors[0]}{more}")
        if errors == self._errors:  # logged by an earlier try
            return
        self._errors = errors
        for error in errors:
            log.error("%s not used: %s", self.name, error)
        remains = "the last valid one stays in force" if self.is_loaded else "none is in force yet, waiting for it"
        log.error("%s %s %s (errors: %d); %s", self.name, self.source, state, len(errors), remains)
        self.count(self.name, False)

    def _restore_stored(self) -> None:
        """Use what the previous worker has stored since the master loaded the files."""
        stored = _fingerprint(self._store)
        if stored and stored != self._stored:
            (self.restore or self.use)(self._store.read_bytes())
            self._stored = stored
            log.warning("%s %s is invalid: restored the last valid one", self.name, self.source)


def _fingerprint(*paths: Path) -> _Fingerprint:
    try:
        return tuple(
            (os.path.realpath(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)
            for path in paths
            for stat in (path.stat(),)
        )
    except OSError:
        return None


class FileWatcher:
    """Checks files in a daemon thread; each of `checks` is a name for the log and the function to call."""

    def __init__(self, checks: Sequence[tuple[str, Callable[[], None]]], interval: float = INTERVAL) -> None:
        """`interval` is in seconds."""
        self._checks = checks
        self._interval = interval
        self._stopping = threading.Event()

    def check(self) -> None:
        """Check every file now. An error in one check does not prevent the others."""
        for name, check in self._checks:
            try:
                check()
            except Exception:
                log.exception("cannot check %s", name)

    def start(self) -> None:
        """Check once, then start the thread."""
        self.check()
        threading.Thread(target=self._run, name="tokenguard-file-watcher", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self.check()
