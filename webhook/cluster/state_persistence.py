"""Files with the last known state, for a worker that starts while the API server is unavailable or refuses.

A worker writes them, its successor reads them. The cluster is in the server's private folder and lives as long as the
server. The policy may be in a folder that outlives the server, for a container that restarts while the ConfigMap has no
valid policy; it is written as soon as it is in force. The cluster is written by a thread of its own, with the time at
which each part was last synced: monotonic time is the same for all processes of a boot.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from webhook.atomic_write import replace_file
from webhook.core.cluster_state import ClusterState
from webhook.core.cluster_state_io import read_cluster, write_cluster

log = logging.getLogger("tokenguard.cluster")
INTERVAL = 1.0
"""The least number of seconds between two writes of the cluster."""
_CPU_FACTOR = 50
"""The pause is at least this many times the CPU time of the last write: a large cluster takes at most 2 % of a CPU."""

T = TypeVar("T")


class StoredState(NamedTuple):
    """The content of the files, None for what is missing. `last_synced` is in monotonic seconds."""

    policy: str | None
    cluster: ClusterState | None
    last_synced: Mapping[str, float]


class _Header(msgspec.Struct):
    """The first line of the cluster's file; the cluster's own lines follow."""

    last_synced: dict[str, float]
    has_cluster: bool


class StateFiles:
    """Writes and reads the files."""

    def __init__(
        self,
        folder: Path,
        policy_file: Path,
        base: ClusterState,
        last_synced: Mapping[str, float],
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Store the cluster in `folder`. `base` has its other properties, `last_synced` is read at each write.

        `wait` waits for some seconds or until `stop`; tests replace it.
        """
        self._policy_file = policy_file
        self._cluster_file = folder / "cluster.jsonl"
        self._base = base
        self._last_synced = last_synced
        self._cluster: ClusterState | None = None
        self._is_failing = False
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait

    def write_policy(self, document: str) -> None:
        """Write the policy now."""
        self._replace(self._policy_file, [document.encode()])

    def use_cluster(self, cluster: ClusterState) -> None:
        """Write this cluster next time."""
        self._cluster = cluster

    def schedule_write(self) -> None:
        """Have the cluster and the times of the last syncs written soon."""
        self._changed.set()

    def read_policy(self) -> str | None:
        """Return the stored policy document, which may be damaged, or None."""
        return self._read(self._policy_file, lambda file: file.read().decode())

    def read(self) -> StoredState:
        """Return what a predecessor has written."""
        cluster, last_synced = self._read(self._cluster_file, self._read_cluster) or (None, {})
        return StoredState(self.read_policy(), cluster, last_synced)

    def _read_cluster(self, file: BinaryIO) -> tuple[ClusterState | None, dict[str, float]]:
        header = msgspec.json.decode(file.readline(), type=_Header)
        return read_cluster(file, self._base) if header.has_cluster else None, header.last_synced

    @staticmethod
    def _read(path: Path, decode: Callable[[BinaryIO], T]) -> T | None:
        try:
            with path.open("rb") as file:
                return decode(file)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("cannot read the stored state in %s: %s", path.name, type(error).__name__)
            return None

    def start(self) -> None:
        """Start the thread that writes the cluster."""
        threading.Thread(target=self.run, name="tokenguard-state-files", daemon=True).start()

    def stop(self) -> None:
        """Stop that thread."""
        self._stopping.set()
        self._changed.set()

    def run(self) -> None:
        """Write the cluster after each change, until stopped."""
        while True:
            self._changed.wait()
            if self._stopping.is_set():
                return
            self._wait(max(INTERVAL, _CPU_FACTOR * self._write_cluster()))

    def _write_cluster(self) -> float:
        """Write the current state; return the seconds of CPU that it took."""
        started = time.thread_time()
        self._changed.clear()
        last_synced = dict(self._last_synced)  # before the cluster, which may be newer than these times, but not older
        self._replace(self._cluster_file, _lines(last_synced, self._cluster))
        return time.thread_time() - started

    def _replace(self, file: Path, content: Iterable[bytes]) -> None:
        try:
            replace_file(file, content)
        except OSError as error:
            if not self._is_failing:
                log.warning("cannot store the state for a worker that restarts: %s", error.strerror)
            self._is_failing = True
        else:
            self._is_failing = False


def _lines(last_synced: dict[str, float], cluster: ClusterState | None) -> Iterator[bytes]:
    yield msgspec.json.encode(_Header(last_synced, cluster is not None)) + b"\n"
    if cluster is not None:
        yield from write_cluster(cluster)
