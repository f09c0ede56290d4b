"""A short day, of which nothing is asserted that a busy machine could change: no times, and no memory."""

import math
from dataclasses import replace

import pytest

from tests.serving import OBJECTS, eventually, serve
from tests.soak.clients import Clients
from tests.soak.conductor import Conductor, Ran, Use
from tests.soak.expected import POLICIES, revision
from tests.soak.report import report


@pytest.fixture(scope="module")
def soak_run(tmp_path_factory) -> Ran:
    return Conductor(tmp_path_factory.mktemp("soak"), seconds=16, rate=100, takes_hold=math.inf).run()


def test_answers_are_right_through_edits_rotations_and_kills(soak_run) -> None:
    assert soak_run.kills
    assert soak_run.rotations
    assert soak_run.tally.answered > len(soak_run.kills)
    assert soak_run.tally.differing == []


def test_answer_of_an_outdated_policy_is_detected(tmp_path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICIES[0])
    (tmp_path / "objects.yaml").write_text(OBJECTS)
    flags = ["--policy", str(tmp_path / "policy.yaml"), "--objects", str(tmp_path / "objects.yaml")]
    with serve(tmp_path / "run", *flags) as server:
        clients = Clients(server, 1, 1000, lambda _began: {revision(POLICIES[1])})
        clients.start()
        try:
            eventually(lambda: clients.tally.differing)
        finally:
            clients.stop()
    assert "status 200" in clients.tally.differing[0]


def test_every_answer_is_counted_and_recorded(soak_run) -> None:
    assert 0 < soak_run.by_one_worker.answered <= soak_run.by_one_worker.counted <= soak_run.by_one_worker.sent
    assert soak_run.tally.answered <= soak_run.lines <= soak_run.tally.sent


def test_faults_are_reported(soak_run) -> None:
    same = Use(100.0, 10, 50)
    shown = set(soak_run.tally.certificates)
    sound = replace(soak_run, first=same, last=same, served=shown, tally=replace(soak_run.tally, failures=[]), log="")
    assert report(sound)[1] == []
    for change, expected in (
        ({"last": replace(same, memory=106.0)}, "memory"),
        ({"last": replace(same, threads=9)}, "threads"),
        ({"last": replace(same, descriptors=60)}, "descriptors"),
        ({"by_one_worker": sound.by_one_worker._replace(counted=sound.by_one_worker.answered - 1)}, "counted"),
        ({"lines": sound.tally.sent + 1}, "in the audit files"),
        ({"served": {b"another"}}, "never shown"),
        ({"tally": replace(sound.tally, differing=["/mutate 1: status 200"])}, "differs"),
        ({"tally": replace(sound.tally, failures=[-100.0])}, "no answer"),
        ({"log": "Traceback (most recent call last):"}, "Traceback"),
    ):
        [wrong] = report(replace(sound, **change))[1]
        assert expected in wrong
