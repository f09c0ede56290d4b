"""The last known state in a file, for a worker that starts while the API server is away or refuses.

The file is in the folder that the workers have in common, so it lives as long as the server. It is one worker at a
time that writes it, whoever holds the lock; when that one dies, another takes over within a second. What was heard of
the API server last, and when, stands in the same file: monotonic time is one for all processes of a boot.
"""

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from webhook.core.cluster import Cluster
from webhook.core.cluster_lines import read_cluster, write_cluster
from webhook.files import replace_file

log = logging.getLogger("tokenguard.cluster")
INTERVAL = 1.0
"""How long the file is left alone after it was written, in seconds, however much is heard meanwhile."""
_SHARE = 50
"""It is left alone for so many times the CPU time that writing it took, too: a large cluster must not cost more."""


class Kept(NamedTuple):
    """A state: the policy's document, and a cluster, each None where there is none. `heard` is monotonic seconds."""

    policy: str | None
    cluster: Cluster | None
    heard: Mapping[str, float]


class _Head(msgspec.Struct):
    """The file's first line; the cluster's lines follow."""

    heard: dict[str, float]
    policy: str | None
    has_cluster: bool


class Keeper:
    """Keeps the state in its file, in a thread of its own."""

    def __init__(
        self, file: Path, base: Cluster, heard: Mapping[str, float], wait: Callable[[float], object] | None = None
    ) -> None:
        """Take the file's path, the cluster's other properties, and when each part was last known to be current.

        `wait` waits so many seconds, or less where `stop` is called.
        """
        self._file = file
        self._base = base
        self._heard = heard
        self._policy: str | None = None
        self._cluster: Cluster | None = None
        self._failing = False
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait

    def keep_policy(self, document: str) -> None:
        """Have this policy kept."""
        self._policy = document

    def keep_cluster(self, cluster: Cluster) -> None:
        """Have this cluster kept."""
        self._cluster = cluster

    def note_heard(self) -> None:
        """Write before long: something was heard, and what came of it has been said before."""
        self._news.set()

    def read(self) -> Kept | None:
        """Return what was kept, by whichever worker; None where there is nothing of use."""
        try:
            with self._file.open("rb") as lines:
                head = msgspec.json.decode(lines.readline(), type=_Head)
                return Kept(head.policy, read_cluster(lines, self._base) if head.has_cluster else None, head.heard)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("the state that was kept can't be read: %s", type(error).__name__)
            return None

    def start(self) -> None:
        """Begin to write."""
        threading.Thread(target=self.run, name="tokenguard-keeper", daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self._news.set()

    def run(self) -> None:
        """Write, again and again, until stopped."""
        with self._file.with_suffix(".lock").open("ab") as lock:
            while True:
                self._news.wait()
                if self._stopping.is_set():
                    return
                took = self._write() if _is_held(lock.fileno()) else 0.0
                self._wait(max(INTERVAL, _SHARE * took))

    def _write(self) -> float:
        """Write what is known now; return the seconds of CPU that took."""
        began = time.thread_time()
        self._news.clear()
        heard = dict(self._heard)  # first: what is read after it may be newer than that says, but never older
        try:
            replace_file(self._file, _lines(Kept(self._policy, self._cluster, heard)))
        except OSError as error:
            if not self._failing:
                log.warning("the state can't be kept for workers to come: %s", error.strerror)
            self._failing = True
        else:
            self._failing = False
        return time.thread_time() - began


def _lines(kept: Kept) -> Iterator[bytes]:
    yield msgspec.json.encode(_Head(dict(kept.heard), kept.policy, kept.cluster is not None)) + b"\n"
    if kept.cluster is not None:
        yield from write_cluster(kept.cluster)


def _is_held(lock: int) -> bool:
    """Say whether this process has the lock, taking it where nobody has."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
