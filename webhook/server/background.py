"""Interfaces of what runs in the background of a worker, and a group of several."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from webhook.core.cluster_state import ClusterState
from webhook.core.owner_event import OwnerEvent
from webhook.core.snapshot import Snapshot
from webhook.server.state import State


class Background(Protocol):
    """Something that runs in a worker, beside answering reviews."""

    def start(self) -> None:
        """Start; return as soon as the state is loaded, or clearly will not be soon."""

    def stop(self) -> None:
        """Stop."""


class LiveSource(Background, Protocol):
    """The API server as the source of policy, Secrets and Namespaces."""

    def restore(self) -> None:
        """Load what the previous worker stored; called before `start`."""

    def record_event(self, event: OwnerEvent) -> None:
        """Create an Event on the owner of a pod, in the background."""


class CertificateSource(Background, Protocol):
    """A Secret as the source of the certificate: `where` names it in messages, `file` gets each new pair (PEM)."""

    where: str
    file: Path


LiveSourceFactory = Callable[[State, ClusterState, Callable[[bool], None], Path], LiveSource]
"""Takes the state to keep up to date, the cluster's other properties, a callback that gets whether a policy was
accepted, and a folder that is private to the server and outlives a worker. Called in the master: starts nothing."""
CertificateSourceFactory = Callable[[Path, Callable[[], str]], CertificateSource]
"""Takes such a folder, and a function that returns the fingerprint of the served certificate."""
ProbeFactory = Callable[[Callable[[], Snapshot | None], Callable[[str, str], None], Path], Background]
"""Takes what is probed, what gets a pod and its result, and such a folder."""
BackstopFactory = Callable[[Callable[[], Snapshot | None], Callable[[bool], None], Path], Background]
"""Takes the policy in force, what gets whether the exported policies are in step with it, and such a folder."""


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
