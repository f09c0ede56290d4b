"""Clients that send reviews at a constant rate over connections that they keep, and look at what is answered."""

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.serving import JSON, Server, ask
from tests.soak.expected import expected

ON_ONE_CONNECTION = 200
"""So many reviews are sent before a client connects again, and meets a new certificate."""


@dataclass
class Tally:
    """What became of all reviews. `failures` holds when one got no answer, in monotonic seconds."""

    sent: int = 0
    answered: int = 0
    differing: list[str] = field(default_factory=list)
    failures: list[float] = field(default_factory=list)
    certificates: set[bytes] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Clients:
    """So many threads, each with a connection."""

    def __init__(self, server: Server, count: int, rate: float, may_be: Callable[[float], set[str]]) -> None:
        """Take how many reviews a second they send in all.

        `may_be` returns the revisions of the policies by which a review may be answered that was begun at a time, in
        monotonic seconds, and is answered now.
        """
        self.tally = Tally()
        self._server = server
        self._every = count / rate
        self._may_be = may_be
        self._answers = list(expected().items())
        self._count = count
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to send."""
        self._stopping.clear()
        self._threads = [threading.Thread(target=self._run, args=(at,)) for at in range(self._count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End it, connections and all."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, at: int) -> None:
        turns = itertools.cycle(self._answers[at:] + self._answers[:at])
        due = time.monotonic()
        while not self._stopping.is_set():
            with contextlib.closing(self._server.connect()) as connection, contextlib.suppress(_NoAnswer):
                for (path, body), answers in itertools.islice(turns, ON_ONE_CONNECTION):
                    self._send(connection, path, body, answers)
                    if connection.sock is None:  # the server has parted with it
                        break
                    due = max(due + self._every, time.monotonic() - 1)
                    if self._stopping.wait(max(due - time.monotonic(), 0)):
                        break

    def _send(self, connection: http.client.HTTPSConnection, path: str, body: bytes, answers: dict[str, bytes]) -> None:
        began = time.monotonic()
        tally = self.tally
        with tally.lock:
            tally.sent += 1
        try:
            reply = ask(connection, "POST", path, body, JSON)
        except (OSError, http.client.HTTPException) as error:
            with tally.lock:
                tally.failures.append(time.monotonic())
            raise _NoAnswer from error
        due = {answers[revision] for revision in self._may_be(began)}
        with tally.lock:
            tally.answered += 1
            if connection.sock:
                tally.certificates.add(connection.sock.getpeercert(binary_form=True))
            if reply.status != 200 or reply.body not in due:
                annotations = json.loads(reply.body).get("response", {}).get("auditAnnotations")
                uid = json.loads(body)["request"]["uid"]
                tally.differing.append(f"{path} {uid}: status {reply.status}, {annotations}")


class _NoAnswer(Exception):  # noqa: N818 - it says what happened
    """The connection broke."""
