"""The real server under load, beside two that do less or do it by other means, in the same rounds."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.baselines import ANSWER
from tests.bench.in_flight import answered
from tests.bench.load import HINT, Figures, have_wrk, load, median, ratio
from tests.bench.table import Row
from tests.serving import JSON, OBJECTS, POLICY, Server, serve

RECORDED = Path(__file__).parent.parent / "recorded"
REVIEWS = ("pod-seed-secure.mutate", "pod-plain.validate", "pod-large.mutate")
CONNECTIONS = (1, 8, 32)
IN_FLIGHT = 1000
HEAD = (
    "review", "connections", "server", "reviews/s", "CPU us", "p50 ms", "p99 ms", "PSS MiB", "busiest worker",
    "CPU x constant", "p99 x constant", "reviews/s x Flask",
)  # fmt: skip
OURS, CONSTANT, FLASK = "tokenguard", "constant answer", "Flask, gthread"
_GOALS = {("cpu", CONSTANT): (1.6, False), ("p99", CONSTANT): (2.0, False), ("rate", FLASK): (3.5, True)}


class Rounds(NamedTuple):
    """What each server did, round by round, under one load."""

    review: str
    connections: int
    of: dict[str, list[Figures]]


def measure(folder: Path, seconds: float, rounds: int) -> Iterator[Rounds]:
    """Yield a load's rounds as soon as they are done: in each the servers take turns, so they meet the same machine."""
    with _server(folder, "tokenguard") as ours:
        for review in REVIEWS:
            body = RECORDED / f"{review}.pods.json"
            path = f"/{review.rpartition('.')[2]}"
            answer = folder / "answer"
            answer.write_bytes(ours.request("POST", path, body.read_bytes(), JSON).body)
            with _server(folder, "constant", answer) as constant, _server(folder, "flask") as flask:
                servers = {OURS: ours, CONSTANT: constant, FLASK: flask}
                for connections in CONNECTIONS:
                    of: dict[str, list[Figures]] = {name: [] for name in servers}
                    for _ in range(rounds):
                        for name, server in servers.items():
                            of[name].append(load(server, path, body, connections, seconds))
                    yield Rounds(review, connections, of)


def cells(measured: Rounds) -> Iterator[tuple[str, ...]]:
    """Yield a row for each server: the medians of its rounds, and of tokenguard's ratios, with least and most."""
    for name, figures in measured.of.items():
        at = median(figures)
        ratios = ("", "", "")
        if name == OURS:
            held = (("cpu", CONSTANT), ("p99", CONSTANT), ("rate", FLASK))
            ratios = tuple(_shown(*ratio(figures, measured.of[other], figure)) for figure, other in held)
        yield (
            measured.review, str(measured.connections), name, f"{at.rate:.0f}", f"{at.cpu:.0f}", f"{at.p50:.2f}",
            f"{at.p99:.1f}", f"{at.pss:.1f}", f"{at.spread:.0%}", *ratios,
        )  # fmt: skip


def goals(measured: list[Rounds]) -> Iterator[Row]:
    """Yield what is held against a goal: the mutating review of a small pod, over eight connections."""
    [of] = [one.of for one in measured if (one.review, one.connections) == (REVIEWS[0], 8)]
    shown = {"cpu": "CPU of a mutating review, us", "p99": "p99 at 8 connections, ms", "rate": "reviews/s"}
    for (figure, other), (goal, more) in _GOALS.items():
        ours, theirs = (getattr(median(of[name]), figure) for name in (OURS, other))
        middle, _, _ = ratio(of[OURS], of[other], figure)
        yield Row(f"{shown[figure]}: {OURS}, {other}", f"{ours:.1f}", f"{theirs:.1f}", middle, goal, more)


def in_flight(folder: Path) -> Row:
    """Return how many of 1,000 reviews at once are answered."""
    body = (RECORDED / f"{REVIEWS[0]}.pods.json").read_bytes()
    with _server(folder, "tokenguard") as server:
        count = answered(server, "/mutate", body, IN_FLIGHT)
    what = "reviews in flight at once: answered, sent"
    return Row(what, str(count), str(IN_FLIGHT), count / IN_FLIGHT, goal=1, should_be_more=True)


@contextlib.contextmanager
def _server(folder: Path, name: str, answer: Path | None = None) -> Iterator[Server]:
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "objects.yaml").write_text(OBJECTS)
    module = ("-m", "webhook") if name == "tokenguard" else ("-m", "tests.bench.baselines", name)
    flags = (
        "--policy", str(folder / "policy.yaml"), "--objects", str(folder / "objects.yaml"),
        "--audit-log", str(folder / f"{name}.audit"),
    )  # fmt: skip
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TOKENGUARD_")}
    environment = kept | ({ANSWER: str(answer)} if answer else {})
    with serve(folder / name, *flags, module=module, env=environment) as server:
        yield server


def _shown(middle: float, least: float, most: float) -> str:
    return f"{middle:.2f} ({least:.2f}-{most:.2f})"


def why_not() -> str | None:
    """Return what is missing to measure it, or None."""
    return None if have_wrk() else HINT
