"""A long run under constant load, with policy edits, rotations and kills: `make soak MINUTES=10`.

Every answer is compared with what is due under a policy that may be in force. In the first half the worker is killed
again and again; the last one then runs to the end. Memory, threads and descriptors of all processes are measured at
rest, a minute after the last kill and at the end: they may differ by 5 %. Exits 1 if something is wrong.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.conductor import Conductor
from tests.soak.report import report


def main() -> int:
    """Run, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--rate", type=float, default=200, help="reviews a second (200)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ran = Conductor(Path(folder), arguments.minutes * 60, arguments.rate).run()
    lines, wrong = report(ran)
    print(*lines, *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
