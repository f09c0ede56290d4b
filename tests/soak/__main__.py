"""A long run under constant load, with policy edits, rotations and kills: `make soak MINUTES=10`.

Every answer is held against what is due under a policy that may be in force. At rest after the first minute, and at
rest at the end, memory, threads and descriptors of all processes are taken: they may differ by 5 %. In the first and in
the last minute no worker is killed, so that those that are looked at have run for as long. Exits 1 where something is
off.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.conductor import Conductor
from tests.soak.report import report


def main() -> int:
    """Run, tell, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--rate", type=float, default=200, help="reviews a second (200)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ran = Conductor(Path(folder), asked.minutes * 60, asked.rate).run()
    lines, wrong = report(ran)
    print(*lines, *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
