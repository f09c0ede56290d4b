"""Gauges of the policy, the cluster state and the certificate."""

import datetime as dt
import re

import pytest

from tests.policies import HEAD
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import read_policy
from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import create_self_signed
from webhook.server.metrics.collector import MAX_EXEMPTIONS, MetricsCollector
from webhook.server.metrics.definitions import DURATION, RECORDED
from webhook.server.metrics.recorder import Metrics
from webhook.server.state import State

TODAY = dt.datetime(2026, 11, 23, 22, 30, tzinfo=dt.UTC)
COUNTED = (DURATION.name, *(metric.name for metric in RECORDED))


def exemption(until: str, reason: str = "INFRA-1", rules: str = "[inject]") -> str:
    return f"- {{rules: {rules}, namespaces: [a], reason: {reason}, until: {until}}}\n"


def state_with(document: str) -> State:
    state = State()
    state.use_policy(read_policy(document.encode()))
    state.use_cluster(
        ClusterState(legacy_tokens={"a": {"one": "x", "two": "x"}, "b": {"one": "x"}}, namespaces={"a": set()})
    )
    return state


def samples(state: State) -> dict[str, float]:
    """Return all samples by name and labels, as exposed."""
    lines = MetricsCollector(Metrics(state), state, clock=TODAY.timestamp).exposition().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def expiries(state: State) -> dict[str, float]:
    """Return when each exemption with a series of its own expires, by its index in the policy."""
    sampled = samples(state)
    return {
        re.search(r'exemption="exemptions\[(\d+)\]"', name)[1]: value
        for name, value in sampled.items()
        if name.startswith("tokenguard_exemption_expiry")
    }


@pytest.mark.parametrize(
    ("until", "days_left"),
    [
        ("2026-11-22", "expired"), ("2026-11-23", "0-7"), ("2026-11-30", "0-7"), ("2026-12-01", "8-30"),
        ("2026-12-24", "31-90"), ("2027-02-22", "91+"), ("9999-12-31", "91+"), ("never", "never"),
    ],
)  # fmt: skip
def test_exemptions_are_counted_by_days_left(until, days_left) -> None:
    sampled = samples(state_with(f"{HEAD}exemptions:\n{exemption(until)}"))
    counted = {name: value for name, value in sampled.items() if name.startswith("tokenguard_exemptions{")}
    assert counted.pop(f'tokenguard_exemptions{{days_left="{days_left}"}}') == 1
    assert set(counted.values()) == {0}


def test_exemption_expires_when_its_last_day_is_over() -> None:
    every = exemption("2026-11-23", "Jenkins", '["*"]')
    sampled = samples(state_with(f"{HEAD}exemptions:\n{every}"))
    name = 'tokenguard_exemption_expiry_timestamp_seconds{exemption="exemptions[0]",reason="Jenkins",rules="*"}'
    assert sampled[name] == dt.datetime(2026, 11, 24, tzinfo=dt.UTC).timestamp()


def test_exemptions_that_expire_first_have_series_of_their_own() -> None:
    day = dt.date(2026, 11, 23)
    every = ["never", *(str(day - dt.timedelta(1 + number)) for number in range(MAX_EXEMPTIONS))]
    every += [str(day + dt.timedelta(number)) for number in reversed(range(30))]
    sampled = expiries(state_with(f"{HEAD}exemptions:\n{''.join(map(exemption, every))}"))
    coming = {str(number) for number in range(1 + MAX_EXEMPTIONS, 1 + MAX_EXEMPTIONS + 30)}
    last_expired = {str(number) for number in range(1, 1 + MAX_EXEMPTIONS - 30)}
    assert set(sampled) == coming | last_expired


def test_long_reason_with_control_characters_is_cut_and_escaped() -> None:
    reason = '"\\e[31m\\\\ \\" ' + "r" * 300 + '"'
    [name] = [
        name
        for name in samples(state_with(f"{HEAD}exemptions:\n{exemption('2026-12-01', reason)}"))
        if "reason=" in name and "exemption=" in name
    ]
    assert name.isprintable()
    assert len(name) < 300


def test_state_gauges_are_what_the_state_knows() -> None:
    state = state_with(HEAD)
    state.last_synced |= {"Secrets": 2e9, "Namespaces": 1.0}
    state.certificate = parse_certificates(create_self_signed((), TODAY).certificate)[0]
    sampled = samples(state)
    assert sampled["tokenguard_ready"] == 1
    assert sampled[f'tokenguard_policy_info{{mode="enforce",revision="{state.snapshot.policy.revision}"}}'] == 1
    assert sampled["tokenguard_legacy_secrets"] == sampled['tokenguard_state_objects{resource="secrets"}'] == 3
    assert sampled['tokenguard_state_objects{resource="namespaces"}'] == 1
    assert sampled['tokenguard_state_age_seconds{source="secrets"}'] == 0
    assert sampled['tokenguard_state_age_seconds{source="namespaces"}'] > 0
    assert sampled["tokenguard_certificate_expiry_timestamp_seconds"] == state.certificate.not_after.timestamp()


def test_placeholder_certificate_has_no_expiry() -> None:
    state = state_with(HEAD)
    state.awaits_certificate = True
    assert samples(state).keys() & {"tokenguard_certificate_expiry_timestamp_seconds"} == set()
    assert samples(state)["tokenguard_ready"] == 0


def test_state_without_a_snapshot_has_only_readiness() -> None:
    sampled = samples(State())
    assert {name: value for name, value in sampled.items() if not name.startswith(COUNTED)} == {"tokenguard_ready": 0.0}
