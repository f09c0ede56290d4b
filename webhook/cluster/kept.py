"""The last known state in files, for a worker that starts while the API server is away or refuses.

They are in the folder that the workers have in common, so they live as long as the server; the policy may be in a
folder that outlives it, for a server that restarts while the ConfigMap holds no valid one. The policy is written by
whichever worker puts one in force, before anything else may come. Secrets and Namespaces are written by one worker at
a time, whoever holds the lock, once a second at the most; when that one dies, another takes over within a second.
With them stands when each part of the state was last heard of: monotonic time is one for all processes of a boot.
"""

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from webhook.core.cluster import Cluster
from webhook.core.cluster_lines import read_cluster, write_cluster
from webhook.files import replace_file

log = logging.getLogger("tokenguard.cluster")
INTERVAL = 1.0
"""How long the cluster is left alone after it was written, in seconds, however much is heard meanwhile."""
_SHARE = 50
"""It is left alone for so many times the CPU time that writing it took, too: a large cluster must not cost more."""

T = TypeVar("T")


class KeptPolicy(msgspec.Struct, frozen=True):
    """The document that is in force, and the uid of the ConfigMap that was seen last, which may be another."""

    document: str
    uid: str


class Kept(NamedTuple):
    """A state: a policy and a cluster, each None where there is none. `heard` is monotonic seconds."""

    policy: KeptPolicy | None
    cluster: Cluster | None
    heard: Mapping[str, float]


class _Head(msgspec.Struct):
    """The first line of the cluster's file; the cluster's own lines follow."""

    heard: dict[str, float]
    has_cluster: bool


class Keeper:
    """Keeps the state in its files: the cluster in a thread of its own."""

    def __init__(
        self,
        folder: Path,
        policy_file: Path,
        base: Cluster,
        heard: Mapping[str, float],
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Take the folder, the policy's file, the cluster's other properties, and when each part was last current.

        `policy_file` may be in another folder, so that the policy outlives the server. `wait` waits so many seconds, or
        less where `stop` is called.
        """
        self._policy_file = policy_file
        self._cluster_file = folder / "live.kept"
        self._base = base
        self._heard = heard
        self._policy: KeptPolicy | None = None
        self._cluster: Cluster | None = None
        self._failing = False
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait

    def keep_policy(self, policy: KeptPolicy) -> None:
        """Write this policy, unless it was the last to be written or read."""
        if policy != self._policy:
            self._policy = policy
            self._replace(self._policy_file, [msgspec.json.encode(policy)])

    def keep_cluster(self, cluster: Cluster) -> None:
        """Have this cluster written before long."""
        self._cluster = cluster

    def note_heard(self) -> None:
        """Have it written before long that something was heard; what came of it is in the cluster by now."""
        self._news.set()

    def read(self) -> Kept:
        """Return what was kept, by whichever worker."""
        policy = self._read(self._policy_file, lambda file: msgspec.json.decode(file.read(), type=KeptPolicy))
        cluster, heard = self._read(self._cluster_file, self._read_cluster) or (None, {})
        self._policy = policy or self._policy
        return Kept(policy, cluster, heard)

    def _read_cluster(self, file: BinaryIO) -> tuple[Cluster | None, dict[str, float]]:
        head = msgspec.json.decode(file.readline(), type=_Head)
        return read_cluster(file, self._base) if head.has_cluster else None, head.heard

    @staticmethod
    def _read(path: Path, decode: Callable[[BinaryIO], T]) -> T | None:
        try:
            with path.open("rb") as file:
                return decode(file)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s: what was kept there can't be read: %s", path.name, type(error).__name__)
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
        with self._cluster_file.with_suffix(".lock").open("ab") as lock:
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
        self._replace(self._cluster_file, _lines(heard, self._cluster))
        return time.thread_time() - began

    def _replace(self, file: Path, content: Iterable[bytes]) -> None:
        try:
            replace_file(file, content)
        except OSError as error:
            if not self._failing:
                log.warning("the state can't be kept for workers to come: %s", error.strerror)
            self._failing = True
        else:
            self._failing = False


def _lines(heard: dict[str, float], cluster: Cluster | None) -> Iterator[bytes]:
    yield msgspec.json.encode(_Head(heard, cluster is not None)) + b"\n"
    if cluster is not None:
        yield from write_cluster(cluster)


def _is_held(lock: int) -> bool:
    """Say whether this process has the lock, taking it where nobody has."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
