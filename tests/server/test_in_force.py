"""Metrics of what is in force: exemptions by their end, and several workers as one."""

import datetime as dt
import re

import msgspec
import pytest

from webhook.core.cluster import Cluster
from webhook.core.policy.document import read_policy
from webhook.server.in_force import MOST_EXEMPTIONS, InForce
from webhook.server.metrics import generate_latest
from webhook.server.standing import Standing, Standings, Teller
from webhook.server.state import State

TODAY = dt.datetime(2026, 11, 23, 22, 30, tzinfo=dt.UTC)
HEAD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"


def exemption(until: str, reason: str = "INFRA-1", rules: str = "[inject]") -> str:
    return f"- {{rules: {rules}, namespaces: [a], reason: {reason}, until: {until}}}\n"


def judging_by(document: str) -> State:
    state = State()
    state.use_policy(read_policy(document.encode()))
    state.use_cluster(
        Cluster(legacy_tokens={"a": {"one": "x", "two": "x"}, "b": {"one": "x"}}, namespaces={"a": set()})
    )
    return state


def samples(state: State, standings: Standings | None = None) -> dict[str, float]:
    """Return all samples, under their names and labels as they are exposed."""
    registry = InForce(state, standings or Standings(None), clock=TODAY.timestamp).registry()
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def ends(state: State) -> dict[str, float]:
    """Return the exemptions that are told of one by one, by their place, with the days left until midnight."""
    found = samples(state)
    return {
        re.search(r'exemption="exemptions\[(\d+)\]"', name)[1]: value
        for name, value in found.items()
        if name.startswith("tokenguard_exemption_end")
    }


@pytest.mark.parametrize(
    ("until", "days_left"),
    [
        ("2026-11-22", "ended"), ("2026-11-23", "0-7"), ("2026-11-30", "0-7"), ("2026-12-01", "8-30"),
        ("2026-12-24", "31-90"), ("2027-02-22", "more"), ("9999-12-31", "more"), ("never", "never"),
    ],
)  # fmt: skip
def test_exemptions_are_counted_by_the_days_they_have_left(until, days_left) -> None:
    found = samples(judging_by(f"{HEAD}exemptions:\n{exemption(until)}"))
    counted = {name: value for name, value in found.items() if name.startswith("tokenguard_exemptions{")}
    assert counted.pop(f'tokenguard_exemptions{{days_left="{days_left}"}}') == 1
    assert set(counted.values()) == {0}


def test_an_exemption_ends_when_its_last_day_is_over() -> None:
    every = exemption("2026-11-23", "Jenkins", '["*"]')
    found = samples(judging_by(f"{HEAD}exemptions:\n{every}"))
    name = 'tokenguard_exemption_end_timestamp_seconds{exemption="exemptions[0]",rules="*",why="Jenkins"}'
    assert found[name] == dt.datetime(2026, 11, 24, tzinfo=dt.UTC).timestamp()


def test_those_that_end_first_are_told_of_and_one_that_never_ends_is_not() -> None:
    day = dt.date(2026, 11, 23)
    every = ["never", *(str(day - dt.timedelta(1 + number)) for number in range(MOST_EXEMPTIONS))]
    every += [str(day + dt.timedelta(number)) for number in reversed(range(30))]
    told = ends(judging_by(f"{HEAD}exemptions:\n{''.join(map(exemption, every))}"))
    coming = {str(number) for number in range(1 + MOST_EXEMPTIONS, 1 + MOST_EXEMPTIONS + 30)}
    last_ended = {str(number) for number in range(1, 1 + MOST_EXEMPTIONS - 30)}
    assert set(told) == coming | last_ended


def test_a_reason_is_cut_and_cannot_forge_a_line() -> None:
    reason = '"\\e[31m\\\\ \\" ' + "r" * 300 + '"'
    [name] = [
        one for one in samples(judging_by(f"{HEAD}exemptions:\n{exemption('2026-12-01', reason)}")) if "why" in one
    ]
    assert name.isprintable()
    assert len(name) < 300


@pytest.fixture
def standings(tmp_path):
    return Standings(tmp_path)


def other(folder, **said):
    """Tell as another worker would."""
    standing = {"ready": True, "heard": {}, "objects": {}, "revision": "r", "mode": "enforce"} | said
    (folder / "worker-4242.standing").write_bytes(msgspec.json.encode(Standing(**standing)))


def test_of_several_workers_the_worst_is_told(standings, tmp_path) -> None:
    state = judging_by(HEAD)
    state.heard |= {"Secrets": 2e9, "Namespaces": 1.0}
    other(tmp_path, ready=False, heard={"Secrets": 5.0, "policy": 5.0}, objects={"Secrets": 7}, certificate_ends=12.5)
    found = samples(state, standings)
    assert found["tokenguard_ready"] == 0
    ages = {
        what: found[f'tokenguard_state_age_seconds{{what="{what}"}}'] for what in ("Secrets", "Namespaces", "policy")
    }
    assert ages["Namespaces"] > ages["Secrets"] >= ages["policy"] > 0
    assert found["tokenguard_legacy_secrets"] == found['tokenguard_state_objects{what="Secrets"}'] == 7
    assert found['tokenguard_state_objects{what="Namespaces"}'] == 1
    assert found["tokenguard_certificate_expiry_timestamp_seconds"] == 12.5
    revisions = {name for name in found if name.startswith("tokenguard_policy_info")}
    own = state.snapshot.policy.revision
    assert revisions == {f'tokenguard_policy_info{{mode="enforce",revision="{one}"}}' for one in ("r", own)}


def test_a_worker_that_is_gone_is_told_of_no_more(standings, tmp_path) -> None:
    state = judging_by(HEAD)
    other(tmp_path, ready=False)
    assert samples(state, standings)['tokenguard_policy_info{mode="enforce",revision="r"}'] == 1
    standings.forget(4242)
    assert samples(state, standings).keys() == samples(state).keys()
    standings.forget(4242)


def test_what_cannot_be_read_of_another_worker_is_left_out(standings, tmp_path) -> None:
    (tmp_path / "worker-4242.standing").write_bytes(b"{")
    assert samples(judging_by(HEAD), standings).keys() == samples(judging_by(HEAD)).keys()


def test_before_there_is_anything_to_judge_by_nothing_is_said_of_it() -> None:
    assert samples(State()) == {"tokenguard_ready": 0.0}


def test_no_room_to_tell_is_warned_of_once(tmp_path, caplog) -> None:
    teller = Teller(Standings(tmp_path / "gone"), judging_by(HEAD))
    teller.tell()
    teller.tell()
    assert [record.message for record in caplog.records] == [
        "metrics tell of one worker alone: No such file or directory"
    ]
