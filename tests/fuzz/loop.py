"""Making documents, having them examined, and remembering what broke a promise."""

import hashlib
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

CPU_SECONDS = 10.0
"""What one document may take, in seconds of CPU: the largest that the targets make take a hundredth."""
MEMORY = 1 << 30
"""How many bytes of address space a run may take beyond what it had at its start."""


class Target(Protocol):
    """What is fuzzed."""

    name: str
    seeds: list[bytes]
    keep: Callable[[bytes], None]

    def __init__(self, chance: random.Random) -> None: ...
    def next(self) -> tuple[int, bytes]: ...
    def examine(self, which: int, data: bytes) -> set[str]: ...


@dataclass(frozen=True)
class Broken:
    """A document that broke a promise: the index of the checker, and what went wrong."""

    which: int
    data: bytes
    how: str

    @property
    def name(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:12]


@dataclass
class Run:
    """What became of a run. `seen` is what answers were like, each with the document that first led to it."""

    executions: int = 0
    cpu_seconds: float = 0.0
    slowest: float = 0.0
    seen: dict[str, bytes] = field(default_factory=dict)
    broken: dict[str, Broken] = field(default_factory=dict)


class TooSlowError(Exception):
    """One document took more CPU than it may."""


def fuzz(
    target: Target, *, executions: int | None = None, seconds: float | None = None, until_broken: bool = False
) -> Run:
    """Examine the seeds, and then documents made of them, until there were so many, or so many seconds are over."""
    run = Run()
    deadline = None if seconds is None else time.monotonic() + seconds
    began = time.process_time()
    with bounded():
        for which, data in _documents(target):
            _examine(target, which, data, run)
            over = deadline is not None and time.monotonic() >= deadline
            if over or run.executions == executions or (until_broken and run.broken):
                break
    run.cpu_seconds = time.process_time() - began
    return run


def _documents(target: Target) -> Iterator[tuple[int, bytes]]:
    for seed in target.seeds:
        yield 0, seed
    while True:
        yield target.next()


def _examine(target: Target, which: int, data: bytes, run: Run) -> None:
    run.executions += 1
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    began = time.process_time()
    try:
        features = target.examine(which, data)
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        how = "".join(traceback.format_exception(error))
        run.broken.setdefault(f"{type(error).__name__} {where.filename}:{where.lineno}", Broken(which, data, how))
    else:
        new = features - run.seen.keys()
        if new:
            run.seen |= dict.fromkeys(new, data)
            target.keep(data)
    run.slowest = max(run.slowest, time.process_time() - began)


@contextmanager
def bounded() -> Iterator[None]:
    """Bound what one document may take: of CPU by a signal, of memory by the kernel."""

    def too_slow(_number: int, _frame: FrameType | None) -> None:
        raise TooSlowError(f"took more than {CPU_SECONDS} seconds of CPU")

    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGVTALRM, too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, before[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGVTALRM, handler)
