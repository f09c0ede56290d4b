"""The real server under load, beside two that answer without deciding, in the same rounds."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.baselines import ANSWER
from tests.bench.in_flight import answered
from tests.bench.load import HINT, Figures, have_wrk, load, median, ratio
from tests.bench.table import Row
from tests.documented import CHECKOUT
from tests.serving import JSON, OBJECTS, POLICY, Server, serve

RECORDED = Path(__file__).parent.parent / "recorded"
LOADS = (
    ("pod-seed-secure.mutate", 8), ("pod-seed-secure.mutate", 1), ("pod-plain.validate", 8), ("pod-large.mutate", 8),
)  # fmt: skip
"""Recorded reviews, each with a number of connections. The goals are those of the first."""
IN_FLIGHT = 1000
HEAD = (
    "review", "connections", "server", "reviews/s", "CPU us", "p50 ms", "p99 ms", "PSS MiB", "CPU x asgi", "p99 x asgi",
)  # fmt: skip
ASGI, WORKER, PURE, COMPILED = "asgi, constant", "worker, constant", "tokenguard", "tokenguard, compiled"
COMPILED_FOLDER = CHECKOUT / "build" / "compiled"
"""Where `make compile` puts the compiled modules."""
_MODULES = {
    ASGI: ("-m", "tests.bench.baselines", "asgi"),
    WORKER: ("-m", "tests.bench.baselines", "worker"),
    PURE: ("-m", "webhook"),
    COMPILED: ("-m", "webhook"),
}
_GOALS = {"cpu": 1.6, "p99": 2.0}


class Rounds(NamedTuple):
    """What each server did, round by round, under one load."""

    review: str
    connections: int
    of: dict[str, list[Figures]]


def names() -> tuple[str, ...]:
    """Return which servers are measured: the compiled one if `make compile` was run."""
    return tuple(name for name in _MODULES if name != COMPILED or COMPILED_FOLDER.is_dir())


def measure(folder: Path, seconds: float, rounds: int) -> Iterator[Rounds]:
    """Yield a load's rounds as soon as they are done: in each the servers take turns, so they meet the same machine."""
    for review, connections in LOADS:
        body = RECORDED / f"{review}.pods.json"
        path = f"/{review.rpartition('.')[2]}"
        answer = folder / "answer"
        with server(folder, PURE) as target:
            answer.write_bytes(target.request("POST", path, body.read_bytes(), JSON).body)
        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(server(folder, name, answer)) for name in names()}
            of: dict[str, list[Figures]] = {name: [] for name in servers}
            for _ in range(rounds):
                for name, target in servers.items():
                    of[name].append(load(target, path, body, connections, seconds))
            yield Rounds(review, connections, of)


def cells(measured: Rounds) -> Iterator[tuple[str, ...]]:
    """Yield a row for each server: the medians of its rounds, and of its ratios, with least and most."""
    for name, figures in measured.of.items():
        at = median(figures)
        ratios = [_shown(*ratio(figures, measured.of[ASGI], figure)) if name != ASGI else "" for figure in _GOALS]
        yield (
            measured.review, str(measured.connections), name, f"{at.rate:.0f}", f"{at.cpu:.0f}", f"{at.p50:.2f}",
            f"{at.p99:.1f}", f"{at.pss:.1f}", *ratios,
        )  # fmt: skip


def goals(measured: list[Rounds]) -> Iterator[Row]:
    """Yield what has a goal: the mutating review of a small pod, over eight connections."""
    of = measured[0].of
    shown = {"cpu": "CPU of a mutating review, us", "p99": "p99 at 8 connections, ms"}
    for name in (PURE, COMPILED):
        for figure, goal in _GOALS.items() if name in of else ():
            ours, theirs = (getattr(median(of[server]), figure) for server in (name, ASGI))
            middle, _, _ = ratio(of[name], of[ASGI], figure)
            yield Row(f"{shown[figure]}: {name}", f"{ours:.1f}", f"{theirs:.1f} ({ASGI})", middle, goal)


def in_flight(folder: Path) -> Row:
    """Return how many of 1,000 reviews at once are answered."""
    body = (RECORDED / f"{LOADS[0][0]}.pods.json").read_bytes()
    with server(folder, PURE) as target:
        count = answered(target, "/mutate", body, IN_FLIGHT)
    sent = f"{IN_FLIGHT} (sent)"
    return Row("reviews in flight at once: answered", str(count), sent, count / IN_FLIGHT, goal=1, should_be_more=True)


@contextlib.contextmanager
def server(folder: Path, name: str, answer: Path | None = None) -> Iterator[Server]:
    """Run one of the servers."""
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "objects.yaml").write_text(OBJECTS)
    flags = (
        "--policy", str(folder / "policy.yaml"), "--objects", str(folder / "objects.yaml"),
        "--audit-log", str(folder / f"{name}.audit"),
    )  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TOKENGUARD_")}
    if answer:
        environment[ANSWER] = str(answer)
    where = COMPILED_FOLDER if name == COMPILED else CHECKOUT  # Python takes `webhook` from the folder it runs in
    ready = name != ASGI  # which answers every path with its one answer
    with serve(folder / name, *flags, module=_MODULES[name], ready=ready, env=environment, cwd=where) as target:
        yield target


def _shown(middle: float, least: float, most: float) -> str:
    return f"{middle:.2f} ({least:.2f}-{most:.2f})"


def why_not() -> str | None:
    """Return what is missing to measure it, or None."""
    return None if have_wrk() else HINT
