"""Pods that are created one after the other while something happens to the installation."""

import contextlib
import http.client
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.end_to_end.cluster import pod, tokens
from tests.serving import PATIENCE, eventually

_UNTRUSTED = "x509: certificate signed by unknown authority"
_UNPATCHED = "the mutating webhook did not run"
PODS = int(os.environ.get("TOKENGUARD_TEST_PODS", "100"))
"""Pods that are created while each step goes on."""
INTERVAL = 0.1
"""Seconds between pods, and between rounds of handshakes: what is under way meanwhile needs the CPUs, too."""


class Askable(Protocol):
    """A cluster by its API server."""

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]: ...


@dataclass
class PodLoad:
    """Pods created one after the other, and the API server's answers."""

    plane: Askable
    name: str
    stored: list[dict] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            name = f"{self.name}-{len(self.stored)}-{len(self.failures)}"
            manifest = pod(name, "shop", schedulerName="none")  # no node has to run it
            try:
                status, answer = self.plane.ask("POST", "/api/v1/namespaces/shop/pods", manifest)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(str(error))
            else:
                if status == 201:
                    self.stored.append(answer["spec"])
                else:
                    self.failures.append(answer["message"])
            self.stop.wait(INTERVAL)

    def more(self, count: int = 3) -> None:
        """Wait until so many more have been created."""
        self.reach(len(self.stored) + count)

    def reach(self, total: int) -> None:
        """Wait until so many have been created in all."""
        eventually(lambda: len(self.stored) >= total, patience=PATIENCE + total)


def unexplained(failures: list[str]) -> list[str]:
    """Return the failures during an installation that have another reason than that the CA is not trusted yet.

    The last pod to be refused may be created at the moment when it becomes trusted: the mutating webhook was called
    before and is ignored, the validating one is called after and finds the pod unpatched.
    """
    earlier = [failure for failure in failures[:-1] if _UNTRUSTED not in failure]
    return earlier + [last for last in failures[-1:] if _UNTRUSTED not in last and _UNPATCHED not in last]


@contextlib.contextmanager
def pods_created(plane: Askable, name: str, *, evaluated: bool = True) -> Iterator[PodLoad]:
    """Create pods until the end of the block; each must have been evaluated, unless `evaluated` is false."""
    loop = PodLoad(plane, name)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        loop.more()
        yield loop
        loop.more()
    finally:
        loop.stop.set()
        thread.join()
    lifetimes = {token["expirationSeconds"] for spec in loop.stored for token in tokens(spec).values()}
    assert {3600, 1800} <= lifetimes <= {3600, 1800} | (set() if evaluated else {3607})
