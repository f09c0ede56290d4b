"""What the server is kept up to date by: files, and whatever else the command puts in."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from webhook.core.cluster import Cluster
from webhook.core.notice import Notice
from webhook.server.state import State


class Background(Protocol):
    """Something that runs beside the answering of reviews, in a worker process."""

    def start(self) -> None:
        """Begin; return when there is something to judge by, or when it is plain that there will be none soon."""
        ...

    def stop(self) -> None:
        """End."""
        ...


class LiveSource(Background, Protocol):
    """Where the state comes from that isn't in files."""

    configmap: str | None
    """Where the policy is, for people; None: the policy isn't from here."""
    objects: bool
    """Whether Secrets and Namespaces are from here."""

    def attach(self, state: State, base: Cluster, counted: Callable[[bool], None], folder: Path) -> None:
        """Take what is to be kept up to date, in the process that will be forked: nothing may be started here.

        `base` is the cluster as far as it is known otherwise, `counted` is told of every policy whether it was used,
        and `folder` is a private one that outlives a worker.
        """
        ...

    def tell(self, notice: Notice) -> None:
        """Take what people are to be told of a pod; return at once, whatever becomes of it."""
        ...


class CertificateSource(Background, Protocol):
    """Where the certificate comes from that is in no file of the user's."""

    where: str
    """Where it is kept, for people."""

    def attach(self, folder: Path, serving: Callable[[], str]) -> Path:
        """Take a private folder; return the file in it that is to be followed.

        A new certificate is written there, its chain and its key (PEM). `serving` returns the fingerprint of what is
        served. Nothing may be started here.
        """
        ...


class All:
    """Several of them as one: they begin together, because each may wait for something, and end one after the other."""

    def __init__(self, *parts: Background) -> None:
        """Take the parts."""
        self._parts = parts

    def start(self) -> None:
        """Start each, and return when the last one has."""
        with ThreadPoolExecutor(len(self._parts), "tokenguard-start") as pool:
            list(pool.map(lambda part: part.start(), self._parts))

    def stop(self) -> None:
        """Stop each."""
        for part in self._parts:
            part.stop()
