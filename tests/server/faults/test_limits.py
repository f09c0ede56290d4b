"""More connections than there is room for."""

import contextlib
import resource
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes import open_files_limit, resident_kib
from tests.recorded_reviews import recorded
from tests.server.faults.load import connections_of
from tests.serving import JSON, ask, eventually, raw_connection, serve

EACH = 40
"""KiB that an idle connection may take: 21 are seen."""
BODY = recorded("pod-plain.pods", "mutate")


@pytest.mark.covers("failure-modes: 2,000 connections", "failure-modes: connections")
def test_idle_connections_make_room_for_reviews(policy_flags, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    try:
        with serve(tmp_path, *policy_flags) as server, contextlib.ExitStack() as stack:
            (worker,) = server.workers
            before = resident_kib(server.workers[0])
            with ThreadPoolExecutor(8) as pool:
                for connection in pool.map(lambda _: raw_connection(server), range(2000)):
                    stack.enter_context(contextlib.closing(connection))
            assert resident_kib(server.workers[0]) - before < EACH * 2000
            assert server.review("/mutate", BODY)["allowed"]
            for _ in range(50):
                stack.enter_context(contextlib.closing(raw_connection(server)))
            assert len(connections_of(server)) <= 2000
            assert server.review("/mutate", BODY)["allowed"]
            stack.close()
            eventually(lambda: len(connections_of(server)) < 10)
            assert server.workers == [worker]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.covers("failure-modes: out of file descriptors")
def test_connections_wait_until_file_descriptors_are_free(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags) as server, contextlib.ExitStack() as stack:
        (worker,) = server.workers
        connected = stack.enter_context(contextlib.closing(server.connect()))
        connected.connect()
        limit = open_files_limit(worker)
        used = len(list(Path(f"/proc/{worker}/fd").iterdir()))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 5, limit))
        host, port = server.address.rsplit(":", 1)
        idle = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(20)]
        eventually(lambda: "cannot accept connections, they are queued: Too many open files" in server.log)
        for _ in range(3):
            assert ask(connected, "POST", "/mutate", BODY, JSON).json["response"]["allowed"], "who is connected goes on"
        for connection in idle:
            connection.close()
        assert server.review("/mutate", BODY)["allowed"]
        assert server.workers == [worker]
        assert server.log.count("cannot accept connections") == 1
        assert "Traceback" not in server.log
