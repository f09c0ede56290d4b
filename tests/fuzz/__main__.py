"""Fuzzing for as long as one likes, a process a CPU: `make fuzz MINUTES=n`.

What breaks a promise is left in `build/fuzz`, with what went wrong.
"""

import argparse
import multiprocessing
import os
import random
import sys
from pathlib import Path

from tests.fuzz.loop import Run, Target, fuzz
from tests.fuzz.policies import Policies
from tests.fuzz.reviews import Reviews

FOUND = Path("build/fuzz")
TARGETS: dict[str, type[Target]] = {"reviews": Reviews, "policies": Policies}
SHARES = {"reviews": 0.8, "policies": 0.2}
SEED = 20261123


def main() -> int:
    """Fuzz every target, say how much of it was done, and return 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--seed", type=int, default=SEED, help="of the first process; the next one gets the next number"
    )
    parser.add_argument("--corpus", type=Path, help="a folder for documents that led to something new")
    arguments = parser.parse_args()
    broken = 0
    for name in TARGETS:
        jobs = [(name, arguments.seed + job, arguments.minutes * 60 * SHARES[name]) for job in range(arguments.jobs)]
        with multiprocessing.get_context("fork").Pool(arguments.jobs) as pool:
            runs = pool.starmap(_run, jobs)
        broken += _report(name, runs)
        if arguments.corpus:
            _write_corpus(arguments.corpus / name, runs)
    return 1 if broken else 0


def _run(name: str, seed: int, seconds: float) -> Run:
    return fuzz(TARGETS[name](random.Random(seed)), seconds=seconds)


def _report(name: str, runs: list[Run]) -> int:
    """Print what was done and what was found, and return the number of findings."""
    executions = sum(run.executions for run in runs)
    per_second = executions / sum(run.cpu_seconds for run in runs)
    slowest = max(run.slowest for run in runs) * 1000
    seen = {feature for run in runs for feature in run.seen}
    broken = {how: failure for run in runs for how, failure in run.broken.items()}
    print(
        f"{name}: {executions:,} executions, {per_second:,.0f} a second of CPU, the slowest {slowest:.0f} ms of CPU; "
        f"{len(seen):,} kinds of answers; {len(broken)} broken promises"
    )
    for how, broken_input in broken.items():
        FOUND.mkdir(parents=True, exist_ok=True)
        file = FOUND / f"{name}-{broken_input.name}"
        file.write_bytes(broken_input.data)
        file.with_suffix(".txt").write_text(f"checker {broken_input.which}\n{broken_input.how}")
        print(f"  {how}: {file}", file=sys.stderr)
    return len(broken)


def _write_corpus(folder: Path, runs: list[Run]) -> None:
    """Write each document that first led to something new, the shortest of several."""
    folder.mkdir(parents=True, exist_ok=True)
    shortest: dict[str, bytes] = {}
    for run in runs:
        for feature, data in run.seen.items():
            if feature not in shortest or len(data) < len(shortest[feature]):
                shortest[feature] = data
    for number, data in enumerate(sorted(set(shortest.values()))):
        (folder / f"{number:05}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
