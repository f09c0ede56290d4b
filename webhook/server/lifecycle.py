"""What runs in the background of a worker, and sources of its state besides files."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from webhook.core.cluster_state import ClusterState
from webhook.core.owner_event import OwnerEvent
from webhook.core.policy.model import Policy
from webhook.server.state import Snapshot, State


class Background(Protocol):
    """Something that runs in a worker, beside answering reviews."""

    def start(self) -> None:
        """Start; return as soon as the state is loaded, or clearly will not be soon."""

    def stop(self) -> None:
        """Stop."""


class LiveSource(Background, Protocol):
    """The API server as the source of policy, Secrets and Namespaces."""

    def attach(self, state: State, base: ClusterState, on_reload: Callable[[bool], None], folder: Path) -> None:
        """Set the state to keep up to date. Called in the master, so nothing is started.

        `base` has the cluster's other properties. `on_reload` is called with whether a policy was accepted. `folder` is
        private to the server and outlives a worker.
        """

    def restore(self) -> None:
        """Load what the previous worker stored; called before `start`."""

    def record_event(self, event: OwnerEvent) -> None:
        """Create an Event on the owner of a pod, in the background."""


class CertificateSource(Background, Protocol):
    """A Secret as the source of the certificate; `where` is its name in messages."""

    where: str

    def attach(self, folder: Path, serving: Callable[[], str]) -> Path:
        """Return the file in `folder` that gets each new chain and key (PEM). Called in the master: starts nothing.

        `serving` returns the fingerprint of the served certificate.
        """
        ...


class ProbeSource(Background, Protocol):
    """The self-probe; `namespace` is where it creates pods by dry run."""

    namespace: str

    def attach(
        self,
        snapshot: Callable[[], tuple[Policy, ClusterState] | None],
        record: Callable[[str, str], None],
        is_busy: Callable[[], bool],
        folder: Path,
    ) -> None:
        """Set what is probed. Called in the master, so nothing is started.

        `record` gets a pod and its result; `is_busy` returns whether reviews wait. `folder` is private to the server.
        """


class BackstopSource(Background, Protocol):
    """Keeps the exported policies in the cluster."""

    def attach(self, snapshot: Callable[[], Snapshot | None], report: Callable[[bool], None], folder: Path) -> None:
        """Set what returns policy and cluster, and what gets whether the exported policies are in step with them.

        Called in the master, so nothing is started. `folder` is private to the server.
        """


class BackgroundGroup:
    """Several as one; they start at the same time, because each may wait for the API server."""

    def __init__(self, parts: Sequence[Background]) -> None:
        self._parts = parts

    def start(self) -> None:
        """Start all."""
        with ThreadPoolExecutor(len(self._parts), "tokenguard-start") as pool:
            list(pool.map(lambda part: part.start(), self._parts))

    def stop(self) -> None:
        """Stop one after the other."""
        for part in self._parts:
            part.stop()
