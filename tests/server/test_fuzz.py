"""Bodies broken at random, from recorded ones: always an answer, never a 5xx, never a dead worker, never a leak."""

import random
from collections import Counter
from contextlib import ExitStack, closing
from http.client import HTTPSConnection

import pytest

from tests.fuzz.mutation import MOST_BYTES, Mutator
from tests.fuzz.seeds import reviews
from tests.processes import resident_kib
from tests.serving import JSON, ask, serve

SEED = 20261123
GROWTH = 6 * 1024
"""KiB that the workers may grow by, all together, over 8,000 bodies: 3,700 to 3,900 are seen (the allocator's), and a
KiB retained of each would make 8,000 more; of each that is evaluated, 5,500 more."""


def fuzz(connections: list[HTTPSConnection], count: int, bodies: Mutator) -> Counter[int]:
    """Send `count` broken bodies, and return how many answers there were of each status."""
    statuses: Counter[int] = Counter()
    for number in range(count):
        body = bodies.next()
        connection = connections[number % len(connections)]
        reply = ask(connection, "POST", ["/mutate", "/validate"][number // len(connections) % 2], body, JSON)
        statuses[reply.status] += 1
        answer = reply.json
        assert reply.status in {200, 400}, (reply, body)
        if reply.status == 200:
            status = answer["response"].get("status")
            assert status is None or status["code"] in {400, 403, 422}, (reply, body)
        else:
            assert (answer["kind"], answer["code"]) == ("Status", 400)
    return statuses


@pytest.fixture(scope="module")
def server(policy_flags, tmp_path_factory):
    """Return a server of this module's own, whose memory is looked at."""
    with serve(tmp_path_factory.mktemp("fuzz"), *policy_flags, "--audit-level", "all") as running:
        yield running


@pytest.mark.covers("failure-modes: not a review", "failure-modes: any body")
def test_broken_bodies_cause_no_error_and_no_memory_growth(server):
    with ExitStack() as stack:
        workers = server.workers
        connections = [stack.enter_context(closing(server.connect())) for _ in range(8)]
        bodies = Mutator(reviews(), random.Random(SEED), largest=MOST_BYTES)
        fuzz(connections, 4_000, bodies)  # until caches are full and the allocator has its arenas
        before = resident_kib(server.workers[0])
        statuses = fuzz(connections, 8_000, bodies)
        assert resident_kib(server.workers[0]) - before < GROWTH
        assert min(statuses[200], statuses[400]) > 1_500
        assert server.workers == workers
        assert server.metric("tokenguard_internal_errors_total") == 0
        assert "Traceback" not in server.log


@pytest.mark.covers("failure-modes: 2,000 connections")
def test_closed_connections_leave_no_memory_behind(server):
    for _ in range(50):
        server.request("GET", "/healthz")
    before = resident_kib(server.workers[0])
    for _ in range(200):  # each holds some 300 KiB while it lasts
        server.request("GET", "/healthz")
    assert resident_kib(server.workers[0]) - before < 20_000
