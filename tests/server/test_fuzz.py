"""Bodies broken at random, from recorded ones: always an answer, never a 5xx, never a dead worker.

`python -m tests.server.test_fuzz 10000` sends more of them and tells how much memory the workers take.
"""

import copy
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.server.test_recorded import RECORDED
from tests.serving import JSON, OBJECTS, POLICY, ask, serve

SEED = 20261123
ODD: list[Any] = [None, 0, -1, 1 << 70, 1.5, True, "", "x" * 3000, "\u0000\n\u2028", [], {}, [None], {"name": None}]


def mutated(body: bytes, chance: random.Random) -> bytes:
    """Return a recorded body with something wrong in it, in its bytes or in its JSON."""
    how = chance.randrange(5)
    at = chance.randrange(len(body))
    if how == 0:
        return body[:at]
    if how == 1:
        return body[:at] + chance.randbytes(chance.randrange(1, 20)) + body[at:]
    if how == 2:
        return body[:at] + body[chance.randrange(len(body)) :]
    review = json.loads(body)
    for _ in range(chance.randrange(1, 6)):
        _change(review, chance)
    return json.dumps(review).encode()


def _change(value: Any, chance: random.Random) -> None:
    """Put something odd in the place of a random member, at a random depth."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        if not keys:
            return
        key = chance.choice(list(keys))
        if isinstance(value[key], dict | list) and value[key] and chance.random() < 0.9:
            value = value[key]
            continue
        value[key] = copy.deepcopy(chance.choice(ODD))
        return


def fuzz(server, count: int, seed: int = SEED) -> Counter[int]:
    """Send `count` broken bodies over one connection, and return how many answers there were of each status."""
    chance = random.Random(seed)
    bodies = [path.read_bytes() for path in sorted(RECORDED.iterdir())]
    statuses: Counter[int] = Counter()
    connection = server.connect()
    for _ in range(count):
        body = mutated(chance.choice(bodies), chance)
        reply = ask(connection, "POST", chance.choice(["/mutate", "/validate"]), body, JSON)
        statuses[reply.status] += 1
        answer = reply.json
        assert reply.status in {200, 400}, (reply, body)
        if reply.status == 200:
            status = answer["response"].get("status")
            assert status is None or status["code"] in {400, 403}, (reply, body)
        else:
            assert list(answer) == ["error"]
    connection.close()
    return statuses


def test_no_broken_body_brings_down_a_worker_or_meets_an_error_of_ours(server):
    workers = server.workers
    statuses = fuzz(server, 600)
    assert min(statuses[200], statuses[400]) > 50
    assert server.workers == workers
    assert server.metric("tokenguard_internal_errors_total") == 0
    assert "Traceback" not in server.log


def resident(server) -> list[int]:
    """Return the memory that each worker takes, in KiB."""
    lines = [Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0] for pid in server.workers]
    return [int(line) for line in lines]


def test_connections_that_have_ended_leave_nothing_behind(judged_by, tmp_path):
    with serve(tmp_path, *judged_by, "--workers", "1") as server:
        for _ in range(50):
            server.request("GET", "/healthz")
        before = resident(server)[0]
        for _ in range(200):  # each holds some 300 KiB while it lasts
            server.request("GET", "/healthz")
        assert resident(server)[0] - before < 20_000


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "objects.yaml").write_text(OBJECTS)
    files = ["--policy", str(folder / "policy.yaml"), "--objects", str(folder / "objects.yaml")]
    with serve(folder / "run", *files, "--workers", "1") as server:
        workers = server.workers
        for number in range(10):
            statuses = fuzz(server, int(sys.argv[1]) // 10, SEED + number)
            sys.stdout.write(f"{dict(statuses)}, resident KiB {resident(server)}\n")
        assert server.workers == workers
        sys.stdout.write(f"internal errors: {server.metric('tokenguard_internal_errors_total'):.0f}\n")


if __name__ == "__main__":
    main()
