"""Load over persistent TLS connections, by `wrk`, which takes little of the machine for itself."""

import json
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.processes import cpu_seconds, pss_mib, tree
from tests.serving import Server

HINT = "needs wrk: apt-get install wrk, or your system's package of that name"
_SCRIPT = """\
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, _)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format('\\n{{"reviews": %d, "seconds": %f, "p50": %f, "p99": %f, "failed": %d}}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    failed + summary.errors.status))
end
"""


@dataclass(frozen=True)
class Figures:
    """What a server did under one load; latencies in milliseconds, CPU in microseconds, of all processes MiB."""

    rate: float
    cpu: float
    p50: float
    p99: float
    pss: float


def have_wrk() -> bool:
    """Say whether there is anything to make load with."""
    return shutil.which("wrk") is not None


def load(server: Server, path: str, body: Path, connections: int, seconds: float) -> Figures:
    """Send one review over and over. Fails where not every one is answered with status 200."""
    script = server.folder / "load.lua"
    script.write_text(_SCRIPT.format(body=body))
    whole = f"{max(seconds, 1):.0f}s"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{whole}", f"-s{script}", f"https://{server.address}{path}"]
    before = cpu_seconds(server.process.pid)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used = cpu_seconds(server.process.pid) - before
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert not result["failed"], (done.stdout, server.log)
    return Figures(
        result["reviews"] / result["seconds"],
        used / result["reviews"] * 1e6,
        result["p50"],
        result["p99"],
        sum(map(pss_mib, tree(server.process.pid))),
    )


def median(rounds: Iterable[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(
        *(statistics.median(column) for column in zip(*(vars(figures).values() for figures in rounds), strict=True))
    )


def ratio(ours: Sequence[Figures], theirs: Sequence[Figures], figure: str) -> tuple[float, float, float]:
    """Return the median of the rounds' ratios, the least and the largest."""
    pairs = [getattr(our, figure) / getattr(their, figure) for our, their in zip(ours, theirs, strict=True)]
    return statistics.median(pairs), min(pairs), max(pairs)
