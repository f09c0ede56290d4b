"""Clients that send reviews without a pause, as an API server does: each over a connection that it keeps."""

import contextlib
import http.client
import os
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.recorded_reviews import recorded
from tests.serving import JSON, Server, ask, eventually

BODY = recorded("pod-plain.pods", "mutate")


class Failure(NamedTuple):
    """A review that was sent and not answered: by which client's port, why, and whether the next one was answered."""

    port: int
    why: str


class Load:
    """What became of the reviews. `answers` holds the responses, in the order in which each client got its own."""

    def __init__(self, server: Server, clients: int, check: Callable[[dict[str, Any]], object]) -> None:
        self._server = server
        self._check = check
        self._over = threading.Event()
        self.answered = 0
        self.failures: list[Failure] = []
        self.wrong: list[str] = []
        self.refused = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, more: int = 50) -> None:
        """Wait until so many more have been answered."""
        seen = self.answered
        eventually(lambda: self.answered >= seen + more)

    @property
    def ended(self) -> bool:
        """Whether every client has been refused a connection, and so has given up."""
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._over.is_set():
            connection = self._server.connect()
            try:
                connection.connect()
            except OSError:  # nobody listens: an API server would go to the other replica
                self.refused += 1
                return
            self._use(connection)

    def _use(self, connection: http.client.HTTPSConnection) -> None:
        """Send reviews until the server says that it wants no more on this connection, or breaks off."""
        with contextlib.closing(connection):
            port = connection.sock.getsockname()[1]
            closed = select.poll()
            closed.register(connection.sock, select.POLLRDHUP)
            while not self._over.is_set() and not closed.poll(0):  # an API server uses no connection that is closed
                try:
                    reply = ask(connection, "POST", "/mutate", BODY, JSON)
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(Failure(port, f"{type(error).__name__}: {error}"))
                    return
                self.answered += 1
                try:
                    assert reply.status == 200, reply
                    self._check(reply.json["response"])
                except AssertionError as error:
                    self.wrong.append(str(error))
                if connection.sock is None:
                    return


def is_patched(response: dict[str, Any]) -> None:
    """Fail where a response doesn't patch what is sent."""
    assert response["allowed"], response
    assert "patch" in response, response


@contextlib.contextmanager
def load(server: Server, clients: int = 8, check: Callable[[dict[str, Any]], object] = is_patched) -> Iterator[Load]:
    """Have clients send reviews to the end of the block; none may be answered wrongly."""
    running = Load(server, clients, check)
    running.start()
    try:
        yield running
    finally:
        running.stop()
    assert running.wrong == []


def connections_of(server: Server) -> set[int]:
    """Return the ports of the clients whose connections the worker holds."""
    [worker] = server.workers
    sockets = set()
    for file in Path(f"/proc/{worker}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            sockets.add(os.readlink(file))  # noqa: PTH115 - a socket's is no path
    lines = [line.split() for line in Path(f"/proc/{worker}/net/tcp").read_text().splitlines()[1:]]
    return {int(line[2].split(":")[1], 16) for line in lines if f"socket:[{line[9]}]" in sockets and line[3] != "0A"}


def revision_of(response: dict[str, Any]) -> str:
    """Return which policy a response says that it is by."""
    return str(response["auditAnnotations"]["policy"])
