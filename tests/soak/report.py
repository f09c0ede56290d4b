"""The report about a long run, and what is wrong in it."""

from collections.abc import Iterator

from tests.bench.table import lines
from tests.soak.conductor import Counts, Ran

MOST = 0.05
BY_A_KILL = 3.0
"""So long after a worker was killed, in seconds, a review that was in flight may be found to have failed."""


def report(ran: Ran) -> tuple[list[str], list[str]]:
    """Return the lines of a table, and a line for each thing that is wrong."""
    tally = ran.tally
    rows = [
        ("reviews sent", f"{tally.sent:,}"),
        ("answered", f"{tally.answered:,}"),
        ("with a wrong decision", str(len(tally.differing))),
        ("without an answer, within 3 s of a kill", str(len(tally.failures) - len(_unexplained(ran)))),
        ("without an answer, at other times", str(len(_unexplained(ran)))),
        ("workers killed", str(len(ran.kills))),
        ("policies edited", str(ran.edits)),
        ("certificates rotated", str(ran.rotations)),
        ("answered since the last kill", f"{ran.by_one_worker.answered:,}"),
        ("counted in the metrics since then", f"{ran.by_one_worker.counted:,.0f}"),
        ("lines in the audit files", f"{ran.lines:,}"),
    ]
    used = [(name, f"{first:.1f}", f"{last:.1f}", f"{last / first:.3f}") for name, first, last in _used(ran)]
    return [*lines(("what", "number"), rows), "", *lines(("at rest", "first", "last", "ratio"), used)], list(
        _wrong(ran)
    )


def _wrong(ran: Ran) -> Iterator[str]:
    tally = ran.tally
    yield from (f"differs: {difference}" for difference in tally.differing[:10])
    if _unexplained(ran):
        yield f"{len(_unexplained(ran))} reviews got no answer, and no worker had been killed"
    for name, first, last in _used(ran):
        if abs(last / first - 1) > MOST:
            yield f"{name}: {first:.1f} at first, {last:.1f} at last"
    for name, (sent, answered, count) in (
        ("counted", ran.by_one_worker), ("in the audit files", Counts(tally.sent, tally.answered, ran.lines)),
    ):  # fmt: skip
        if not answered <= count <= sent:
            yield f"{count:.0f} reviews are {name}, of {answered} answered and {sent} sent"
    missed = len(ran.served - tally.certificates)
    if missed:
        yield f"{missed} certificates that were rotated in were never shown to a client"
    if "Traceback" in ran.log:
        yield ran.log[ran.log.index("Traceback") :][:2000]


def _used(ran: Ran) -> Iterator[tuple[str, float, float]]:
    yield "memory of all processes without mapped files, MiB (PSS)", ran.first.memory, ran.last.memory
    yield "threads", ran.first.threads, ran.last.threads
    yield "descriptors", ran.first.descriptors, ran.last.descriptors


def _unexplained(ran: Ran) -> list[float]:
    return [when for when in ran.tally.failures if not any(0 <= when - kill <= BY_A_KILL for kill in ran.kills)]
