"""What tokenguard costs, in ratios against what does less or does it by other means, in one run: `make bench`.

Nothing here fails for being slow: the figures are this machine's, at this moment, other processes included.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bench import deciding, live_state, over_https, pods, scan_size
from tests.bench.checking import check
from tests.bench.table import HEAD, Row, lines
from tests.control_plane.plane import HINT, control_plane, find_binaries

PARTS = ("load", "decisions", "check", "cluster", "scan")


def main() -> None:
    """Measure and print."""
    arguments = _parse_arguments()
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, load average before {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows: list[Row] = []
        if "load" in arguments.parts:
            rows += _under_load(folder, arguments.seconds, arguments.rounds)
        rows += _report(_rest(folder, arguments.parts))
    _table(HEAD, (row.cells for row in rows))


def _under_load(folder: Path, seconds: float, rounds: int) -> list[Row]:
    why_not = over_https.why_not()
    if why_not:
        print(f"load over HTTPS: left out, {why_not}")
        return []
    measured = list(over_https.measure(folder, seconds, rounds))
    _table(over_https.HEAD, (row for load in measured for row in over_https.cells(load)))
    return list(over_https.goals(measured))


def _rest(folder: Path, parts: Iterable[str]) -> Iterator[Row]:
    if "load" in parts:
        yield over_https.in_flight(folder)
    if "decisions" in parts:
        yield from deciding.rows()
    if "check" in parts:
        yield check(folder / "manifests")
    if {"cluster", "scan"} & set(parts):
        binaries = find_binaries()
        if binaries is None:
            print(f"pods and Secrets of a real API server: left out, {HINT}")
            return
        if "cluster" in parts:
            with control_plane(binaries, _folder(folder / "plane")) as plane:
                yield from pods.latencies(plane, folder / "pods")
                yield from live_state.replicas(plane, folder, deciding.SECRETS)
        if "scan" in parts:
            with control_plane(binaries, _folder(folder / "scanned")) as plane:
                yield from scan_size.scans(plane)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _report(rows: Iterable[Row]) -> Iterator[Row]:
    """Say on stderr what has been measured: the whole takes minutes."""
    for row in rows:
        print(row.what, row.measured, file=sys.stderr, flush=True)
        yield row


def _table(head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    print("", *lines(tuple(head), rows), "", sep="\n", flush=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="how long one load lasts (2)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)} (all)")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}: name any of {', '.join(PARTS)}")
    arguments.parts = arguments.parts or PARTS
    return arguments


if __name__ == "__main__":
    main()
