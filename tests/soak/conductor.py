"""Runs the real server through a long day: edits, rotations, kills."""

import contextlib
import datetime as dt
import os
import random
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import sub
from pathlib import Path
from typing import NamedTuple

from tests.processes import descriptors, pss_mib, threads, tree
from tests.serving import OBJECTS, Server, ask, serve
from tests.soak.clients import Clients, Tally
from tests.soak.expected import BROKEN, POLICIES, revision
from webhook.pki.issue import create_self_signed

CLIENTS = 4
CERTIFICATES = 6
TAKES_HOLD = 5.0
"""So long, in seconds, an edited policy may take to be in force, on a machine that is busy."""
_EDIT, _ROTATE, _KILL, _SCRAPE = 11.0, 17.0, 23.0, 5.0
"""How often, in seconds; more often in a run that is shorter than `_LONG`."""
_LONG = 180.0


@dataclass(frozen=True)
class Use:
    """What the server's processes have, at rest."""

    memory: float
    threads: int
    descriptors: int


class Counts(NamedTuple):
    """Reviews: sent, answered, and counted in the metrics."""

    sent: int
    answered: int
    counted: float


@dataclass
class Ran:
    """What happened. Times are monotonic seconds.

    `by_one_worker` is from the last kill on, because a worker's counters are lost with it.
    """

    tally: Tally
    first: Use
    last: Use
    kills: list[float]
    edits: int
    rotations: int
    served: set[bytes]
    by_one_worker: Counts
    lines: int
    log: str


@dataclass
class Conductor:
    """What is done to the server, and when."""

    folder: Path
    seconds: float
    rate: float
    takes_hold: float = TAKES_HOLD
    kills: list[float] = field(default_factory=list)
    _rotations: int = 0
    _served: set[bytes] = field(default_factory=set)
    _edits: list[tuple[float, str]] = field(default_factory=list)

    def run(self) -> Ran:
        """Run it all."""
        pairs = [create_self_signed((), dt.datetime.now(dt.UTC)) for _ in range(CERTIFICATES)]
        self._put("objects.yaml", OBJECTS.encode())
        self._edit(POLICIES[0])
        for at, pair in enumerate(pairs):
            (self.folder / f"pair-{at}").mkdir()
            self._put(f"pair-{at}/tls.crt", pair.certificate + pair.authority)
            self._put(f"pair-{at}/tls.key", pair.key)
        self._rotate(0)
        with serve(self.folder / "run", *self._flags()) as server:
            for pair in pairs:
                server.context.load_verify_locations(cadata=pair.authority.decode())
            return self._day(server)

    def _day(self, server: Server) -> Ran:
        clients = Clients(server, CLIENTS, self.rate, self._may_be)
        tally = clients.tally
        begin = time.monotonic()
        middle, end = begin + self.seconds / 2, begin + self.seconds
        try:
            clients.start()
            self._until(middle, server, self._events(begin, kills=True))
            clients.stop()
            before = Counts(tally.sent, tally.answered, server.metric("tokenguard_reviews_total"))
            clients.start()
            self._until(middle + min(60.0, self.seconds / 8), server, self._events(middle, kills=False))
            clients.stop()
            first = _use(server)
            clients.start()
            self._until(end, server, self._events(time.monotonic(), kills=False))
        finally:
            clients.stop()
        last = _use(server)
        counted = server.metric("tokenguard_reviews_total")
        by_one_worker = Counts(*(map(sub, (tally.sent, tally.answered, counted), before)))
        lines = sum(file.read_bytes().count(b"}\n") for file in self.folder.glob("audit.log*"))
        return Ran(
            tally, first, last, self.kills, len(self._edits) - 1, self._rotations - 1, self._served, by_one_worker,
            lines, server.log,
        )  # fmt: skip

    def _events(self, begin: float, *, kills: bool) -> list[tuple[float, float, Callable[[Server], None]]]:
        """Return what is done when for the first time, how often, and what it is."""
        pace = min(self.seconds / _LONG, 1)
        done: list[tuple[float, Callable[[Server], None]]] = [
            (_SCRAPE, lambda server: server.metric("tokenguard_ready")),
            (_EDIT, lambda _server: self._edit(random.choice((*POLICIES, BROKEN)))),
            (_ROTATE, lambda _server: self._rotate(self._rotations)),
            *([(_KILL, self._kill)] if kills else []),
        ]
        return [(begin + every * pace, every * pace, do) for every, do in done]

    def _until(self, end: float, server: Server, events: list[tuple[float, float, Callable[[Server], None]]]) -> None:
        while (now := time.monotonic()) < end:
            for at, (due, every, do) in enumerate(events):
                if now >= due:
                    events[at] = due + every, every, do
                    do(server)
            time.sleep(0.1)

    def _may_be(self, began: float) -> set[str]:
        """Return the policies that a review may be answered by: the last one that held before it, and those since."""
        edits = list(self._edits)
        settled = max((at for at, (when, _) in enumerate(edits) if when + self.takes_hold <= began), default=0)
        return {revision for _, revision in edits[settled:]}

    def _edit(self, document: str) -> None:
        if document != BROKEN:
            self._edits.append((time.monotonic(), revision(document)))
        self._put("policy.yaml", document.encode())

    def _rotate(self, number: int) -> None:
        """Have another pair be served, as the kubelet does for a mounted Secret: both files at once, by a link."""
        name = f"pair-{number % CERTIFICATES}"
        link = self.folder / "new"
        link.symlink_to(name)
        link.replace(self.folder / "tls")
        self._rotations += 1
        self._served.add(ssl.PEM_cert_to_DER_cert(_first((self.folder / name / "tls.crt").read_text())))

    def _kill(self, server: Server) -> None:
        self.kills.append(time.monotonic())
        for worker in server.workers:
            os.kill(worker, signal.SIGKILL)

    def _put(self, name: str, content: bytes) -> None:
        new = self.folder / "put"
        new.write_bytes(content)
        new.replace(self.folder / name)

    def _flags(self) -> Iterator[str]:
        paths = {
            "policy": "policy.yaml",
            "objects": "objects.yaml",
            "tls-cert": "tls/tls.crt",
            "tls-key": "tls/tls.key",
        }
        for flag, path in paths.items():
            yield from (f"--{flag}", str(self.folder / path))
        yield from ("--audit-log", "/dev/null", "--audit-level", "all", "--audit-file", str(self.folder / "audit.log"))
        yield from ("--audit-file-max-size", "1Mi", "--audit-file-keep", "100000")


def _use(server: Server) -> Use:
    """Return what all processes have once the last connection is gone.

    The threads that answer /metrics and the like begin with the first of them, so some are requested.
    """
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            ask(stack.enter_context(contextlib.closing(server.connect())), "GET", "/readyz")
    time.sleep(2)
    every = tree(server.process.pid)
    return Use(
        sum(pss_mib(pid, "Anon", "Shmem") for pid in every), sum(map(threads, every)), sum(map(descriptors, every))
    )


def _first(chain: str) -> str:
    end = "-----END CERTIFICATE-----\n"
    return chain.partition(end)[0] + end
