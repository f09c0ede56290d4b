"""What runs in the background of a worker, and where its state comes from besides files."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from webhook.core.cluster_state import ClusterState
from webhook.core.owner_event import OwnerEvent
from webhook.server.state import State


class Background(Protocol):
    """Something that runs beside the answering of reviews, in a worker."""

    def start(self) -> None:
        """Start; return as soon as its state is loaded, or evidently will not be soon."""

    def stop(self) -> None:
        """Stop."""


class LiveSource(Background, Protocol):
    """The API server as the source of policy, Secrets and Namespaces."""

    def attach(self, state: State, base: ClusterState, on_reload: Callable[[bool], None], folder: Path) -> None:
        """Set what is kept up to date. Called in the master, so nothing is started.

        `base` has the cluster's other properties. `on_reload` gets whether a policy was accepted. `folder` is private
        to the server, and outlives a worker.
        """

    def restore(self) -> None:
        """Use what the last worker stored, before `start`."""

    def record_event(self, event: OwnerEvent) -> None:
        """Have an Event created on the owner of a pod; return at once."""


class CertificateSource(Background, Protocol):
    """A Secret as the source of the certificate; `where` names it for people."""

    where: str

    def attach(self, folder: Path, serving: Callable[[], str]) -> Path:
        """Return the file in `folder` to watch: a new chain and key (PEM) are written there. Nothing is started.

        `serving` returns the fingerprint of the served certificate.
        """
        ...


class BackgroundGroup:
    """Several of them as one: they start together, because each may wait for something."""

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
