"""Connections are spread over the workers, whoever of them wakes first."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time

import pytest

from tests.bench.in_flight import answered
from tests.processes import connections
from tests.server.faults.load import load
from tests.server.test_bad_input import raw_connection
from tests.server.test_recorded import recorded
from tests.serving import ask, eventually, serve
from webhook.server.spread import MOST_WORKERS, Listener, Shares, Surplus

BODY = recorded("pod-plain.pods", "mutate")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Worker:
    """What takes connections in, beside another in the same loop."""

    def __init__(self, shares: Shares, listening: socket.socket, came: asyncio.Event) -> None:
        self.share = shares.join()
        self.came = came
        self.held: list[socket.socket] = []
        self.listener = Listener(listening, self.share, self.greet)

    async def greet(self, client: socket.socket) -> None:
        self.share.add(1)
        self.held.append(client)
        self.came.set()

    def drop(self) -> None:
        self.held.pop().close()
        self.share.add(-1)

    def close(self) -> None:
        self.listener.close()
        while self.held:
            self.drop()


@contextlib.asynccontextmanager
async def workers(count: int):
    """Give so many workers on one socket, and a function that connects and waits until all are taken in."""
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as stack:
        shares = Shares()
        came = asyncio.Event()
        every = [Worker(shares, listening.dup(), came) for _ in range(count)]
        for one in every:
            stack.callback(one.close)

        async def connect(more: int) -> list[int]:
            wanted = sum(len(one.held) for one in every) + more
            for _ in range(more):
                stack.enter_context(socket.create_connection(listening.getsockname()))
            async with asyncio.timeout(20):
                while sum(len(one.held) for one in every) < wanted:
                    came.clear()
                    await came.wait()
            return [len(one.held) for one in every]

        yield every, connect


def test_whoever_holds_fewer_is_next():
    async def run():
        async with workers(2) as (every, connect):
            assert await connect(8) == [4, 4]
            for _ in range(3):
                every[0].drop()
            assert await connect(3) == [4, 4]

    asyncio.run(run())


def test_a_worker_that_is_gone_is_not_waited_for():
    shares = Shares()
    one, gone, starting = shares.join(), shares.join(), shares.join()
    one.begin()
    gone.begin()
    one.add(3)
    starting.add(0)
    assert not one.is_next
    shares.leave(gone)
    assert one.is_next


def test_of_many_connections_a_quarter_more_counts_as_alike():
    shares = Shares()
    one, other = shares.join(), shares.join()
    one.begin()
    other.begin()
    other.add(100)
    one.add(125)
    assert one.is_next
    one.add(1)
    assert not one.is_next


def two(here: int, there: int):
    """Return a worker's share and surplus, and the share of another: so many connections here, so many there."""
    shares = Shares()
    one, other = shares.join(), shares.join()
    one.begin()
    one.add(here)
    surplus = Surplus(one)
    assert not surplus.is_there(here), "there is nobody else"
    other.begin()
    other.add(there)
    return one, surplus, other


@pytest.mark.parametrize(
    ("here", "there", "too_many"),
    [
        (8, 0, True), (5, 4, False), (6, 4, False), (7, 4, True), (0, 0, False), (1, 0, False), (2, 0, True),
        (126, 100, False), (127, 100, True), (0, 8, False),
    ],
)  # fmt: skip
def test_who_holds_more_than_another_has_too_many(here, there, too_many):
    _, surplus, _ = two(here, there)
    assert surplus.is_there(here) is too_many


def test_what_is_in_its_handshake_here_is_nothing_that_could_be_sent_away():
    _, surplus, _ = two(8, 0)
    assert not surplus.is_there(1)


def test_one_after_the_other_is_sent_away_as_long_as_each_is_found_elsewhere():
    one, surplus, other = two(8, 0)
    for here in (8, 7, 6, 5, 4):
        assert surplus.is_there(here) is (here > 4), here
        surplus.parted()
        one.add(-1)
        other.add(1)


def test_after_one_that_came_back_none_is_sent_away_for_a_while_and_for_longer_each_time():
    _, surplus, other = two(8, 0)
    for rest in (1, 2, 4, 8, 16, 32, 64, 64):
        assert surplus.is_there(8)
        surplus.parted()
        assert [surplus.is_there(8) for _ in range(rest)] == [False] * rest
    assert surplus.is_there(8)
    surplus.parted()
    other.add(1)
    assert surplus.is_there(7)
    surplus.parted()
    assert [surplus.is_there(7) for _ in range(2)] == [False, True]


def test_a_place_is_taken_again_and_past_the_last_one_everything_is_taken_in():
    shares = Shares()
    every = [shares.join() for _ in range(MOST_WORKERS)]
    assert shares.join().is_next
    shares.leave(every[7])
    assert shares.join().at == 7


def test_where_there_is_no_room_for_a_connection_it_waits_until_there_is(caplog):
    class Full(socket.socket):
        refusals = 2

        def accept(self):
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    async def run():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            full = Full(fileno=listening.dup().detach())
            worker = Worker(Shares(), full, asyncio.Event())
            with socket.create_connection(listening.getsockname()):
                await asyncio.wait_for(worker.came.wait(), 20)
            worker.close()

    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == [
        "connections wait, none can be accepted: Too many open files"
    ]


def test_connections_to_the_real_server_are_spread_and_a_worker_that_stands_still_holds_up_none(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server, contextlib.ExitStack() as stack:
        port = int(server.address.rsplit(":", 1)[1])

        def connect():
            connection = stack.enter_context(contextlib.closing(server.connect()))
            assert ask(connection, "GET", "/healthz").status == 200

        def held():
            return [connections(pid, port) for pid in server.workers]

        eventually(lambda: held() == [0, 0])  # what asked whether it is ready is gone
        for _ in range(8):
            connect()
        assert sum(held()) == 8
        assert min(held()) >= 2  # 4, but where this machine is so busy that a worker doesn't wake in time

        stopped = server.workers[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            for _ in range(4):
                connect()
        finally:
            os.kill(stopped, signal.SIGCONT)


def test_a_thousand_reviews_in_flight_at_once_are_all_answered(server):
    assert answered(server, "/mutate", BODY, 1000) == 1000


def test_after_a_worker_was_killed_connections_are_spread_anew_and_no_review_fails_for_it(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server, load(server) as running:
        running.go_on()
        os.kill(server.workers[0], signal.SIGKILL)
        eventually(lambda: len(server.workers) == 2)
        running.go_on()
        lost = len(running.failures)
        port = int(server.address.rsplit(":", 1)[1])
        eventually(lambda: min(connections(pid, port) for pid in server.workers) >= 3)
        running.go_on()
        assert len(running.failures) == lost <= 8


def test_silent_connections_cost_no_worker(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server, contextlib.ExitStack() as stack:
        host, port = server.address.rsplit(":", 1)
        for _ in range(6):
            stack.enter_context(socket.create_connection((host, int(port))))
        gone, stays = server.workers
        os.kill(gone, signal.SIGKILL)
        eventually(lambda: len(server.workers) == 2 and gone not in server.workers)
        time.sleep(2.5)
        assert stays in server.workers
        assert server.log.count("Worker") == 1, server.log


def test_a_client_that_is_sent_away_is_told_so_on_any_path_and_its_connection_ends(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server, contextlib.ExitStack() as stack:
        stopped = server.workers[0]
        os.kill(stopped, signal.SIGSTOP)  # so that the other gets all
        raw = [stack.enter_context(contextlib.closing(raw_connection(server))) for _ in range(4)]
        for one in raw:
            one.sendall(HEALTH)
            assert one.recv(65536).startswith(b"HTTP/1.1 200")
        os.kill(stopped, signal.SIGCONT)

        def told() -> bool:
            raw[0].sendall(HEALTH)
            return b"connection: close" in raw[0].recv(65536)

        eventually(told)
        raw[0].settimeout(10)
        assert raw[0].recv(65536) == b""
