"""What each worker judges by, told to the others, so that whoever answers /metrics answers for all of them.

A monitoring system keeps its connection, and so asks the same worker for days. One that has lost the API server must
not go unnoticed because another is asked. Each writes what there is to tell into the folder they have in common.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from webhook.core.cluster import Cluster
from webhook.files import replace_file
from webhook.server.state import State

log = logging.getLogger("tokenguard")
INTERVAL = 1.0
"""How old, in seconds, what a worker tells the others may become."""


class Standing(msgspec.Struct, frozen=True):
    """One worker's. `heard` is monotonic seconds, which are one for all processes of a boot; `ends` is Unix time.

    `objects` tells how many of each kind are known: nothing as long as there is nothing to judge by.
    """

    ready: bool
    heard: Mapping[str, float]
    objects: Mapping[str, int]
    revision: str = ""
    mode: str = ""
    certificate_ends: float | None = None


class Standings:
    """Those of all workers."""

    def __init__(self, folder: Path | None) -> None:
        """Take the folder; None: there is but this process."""
        self._folder = folder
        self._counted: tuple[Cluster, dict[str, int]] | None = None

    def of(self, state: State) -> Standing:
        """Return this worker's own."""
        snapshot = state.snapshot
        certificate = None if state.waits_for_certificate else state.certificate
        return Standing(
            not state.why_not_ready,
            dict(state.heard),
            self._objects(snapshot.cluster) if snapshot else {},
            snapshot.policy.revision if snapshot else "",
            snapshot.policy.mode.value if snapshot else "",
            certificate.ends.timestamp() if certificate else None,
        )

    def all(self, state: State) -> list[Standing]:
        """Return this worker's, and what the others have told last."""
        return [self.of(state), *self._others()]

    def tell(self, state: State) -> None:
        """Tell the others of this worker's. Raises `OSError` where there is no room."""
        if self._folder:
            replace_file(self._file(self._folder, os.getpid()), [msgspec.json.encode(self.of(state))])

    def forget(self, pid: int) -> None:
        """Forget that of a worker that is gone."""
        if self._folder:
            self._file(self._folder, pid).unlink(missing_ok=True)

    def _others(self) -> Iterator[Standing]:
        own = os.getpid()
        for file in self._folder.glob("worker-*.standing") if self._folder else ():
            if file != self._file(file.parent, own):
                try:
                    yield msgspec.json.decode(file.read_bytes(), type=Standing)
                except (OSError, msgspec.MsgspecError):  # gone meanwhile, or torn: its worker is, or writes it again
                    continue

    def _objects(self, cluster: Cluster) -> dict[str, int]:
        """Count, once for each state of the cluster: there may be 100,000."""
        if self._counted is None or self._counted[0] is not cluster:
            secrets = sum(map(len, cluster.legacy_tokens.values()))
            self._counted = cluster, {"Secrets": secrets, "Namespaces": len(cluster.namespaces)}
        return self._counted[1]

    @staticmethod
    def _file(folder: Path, pid: int) -> Path:
        return folder / f"worker-{pid}.standing"


class Teller:
    """Tells the others of this worker's, once a second, in a thread of its own, from `start` to `stop`."""

    def __init__(self, standings: Standings, state: State, interval: float = INTERVAL) -> None:
        """Take where it is told, and of what; `interval` is in seconds."""
        self._standings = standings
        self._state = state
        self._interval = interval
        self._stopping = threading.Event()
        self._failing = False

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="tokenguard-teller", daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()

    def tell(self) -> None:
        """Tell once."""
        try:
            self._standings.tell(self._state)
        except OSError as error:
            if not self._failing:
                log.warning("metrics tell of one worker alone: %s", error.strerror)
            self._failing = True
        else:
            self._failing = False

    def _run(self) -> None:
        while True:
            self.tell()
            if self._stopping.wait(self._interval):
                return
