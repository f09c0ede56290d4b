"""A pod that both webhooks evaluated counts once."""

import random

import pytest

from tests.audit.log_lines import mutate, own
from webhook.audit.correlate import Correlator
from webhook.audit.events import AuditOutcome, parse_record
from webhook.audit.log_entry import decode_entry

INJECTED = "inject: patch"
LEGACY = "legacy-token-reference: reject"


def counted(*lines: bytes, most: int = 20_000):
    deferred = []
    pairs = Correlator(deferred.append, most)
    for line in lines:
        pairs.add(parse_record(decode_entry(line)))
    pairs.flush()
    return deferred


def test_patched_then_denied_counts_as_denied():
    (request,) = counted(mutate(0, INJECTED), own(0.01, LEGACY))
    assert request.outcome is AuditOutcome.DENIED
    assert dict(request.rules) == {"legacy-token-reference": AuditOutcome.DENIED, "inject": AuditOutcome.PATCHED}


def test_patched_then_warned_counts_as_patched():
    (request,) = counted(mutate(0, INJECTED), own(0.01, "token-subpath: warn", decision="warned"))
    assert request.outcome is AuditOutcome.PATCHED


def test_rule_violated_in_both_counts_by_the_stronger_outcome():
    (request,) = counted(mutate(0, "inject: patch"), own(0.01, "inject: reject"))
    assert request.rules == (("inject", AuditOutcome.DENIED),)


def test_exemption_in_both_counts_once():
    exempt = {
        "decision": "allowed",
        "exemption": "inject: PLAT-1; old (until never); token-subpath: x (until 2026-12-31)",
    }
    (request,) = counted(mutate(0, **exempt), own(0.01, **exempt))
    assert request.exemptions == (("inject", "PLAT-1; old (until never)"), ("token-subpath", "x (until 2026-12-31)"))
    assert request.outcome is AuditOutcome.ALLOWED


GENERATED = {"name": None, "generateName": "web-5d-", "owner": "ReplicaSet/web-5d"}


@pytest.mark.parametrize("base", ["web-5d-", "w" * 80])
def test_generated_name_matches_its_prefix(base):
    made = base[:58] + "x7k2p"
    pod = GENERATED | {"generateName": base}
    validated = {"name": made, "owner": GENERATED["owner"]}
    assert len(counted(mutate(0, INJECTED, **pod), own(0.01, LEGACY, **validated))) == 1
    assert len(counted(own(0, LEGACY, **validated), mutate(0.01, INJECTED, **pod))) == 1, "clocks may differ"


@pytest.mark.parametrize(
    "changed",
    [
        {"namespace": "other"}, {"serviceAccount": "other"}, {"owner": "Job/other"}, {"user": "other"},
        {"name": "other"}, {"dryRun": True}, {"operation": "UPDATE"},
    ],
    ids=str,
)  # fmt: skip
def test_different_pod_is_not_joined(changed):
    assert len(counted(mutate(0, INJECTED), own(0.01, LEGACY, **changed))) == 2


def test_same_name_much_later_is_another_pod():
    assert len(counted(mutate(0, INJECTED), own(31, LEGACY))) == 2
    assert len(counted(mutate(0, INJECTED), own(29, LEGACY))) == 1


def test_other_resources_are_not_joined():
    assert len(counted(own(0, resource="secrets"), own(0.01, resource="secrets"))) == 2


def test_retried_pod_counts_again():
    lines = [line for at in range(5) for line in (mutate(at, INJECTED), own(at + 0.01, LEGACY))]
    assert [use.outcome for use in counted(*lines)] == [AuditOutcome.DENIED] * 5


def test_many_pods_of_one_controller_count_individually():
    lines = [mutate(at / 1000, INJECTED, **GENERATED) for at in range(100)]
    lines += [own(0.1 + at / 1000, LEGACY, name=f"web-5d-{at:05}", owner=GENERATED["owner"]) for at in range(40)]
    random.Random(1).shuffle(lines)
    outcomes = [use.outcome for use in counted(*lines)]
    assert (outcomes.count(AuditOutcome.DENIED), outcomes.count(AuditOutcome.PATCHED)) == (40, 60)


def test_number_of_pending_records_is_limited():
    lines = [mutate(0, INJECTED, name=f"app-{at}") for at in range(50)]
    deferred = []
    pairs = Correlator(deferred.append, 10)
    for line in lines:
        pairs.add(parse_record(decode_entry(line)))
    assert (len(deferred), len(pairs)) == (40, 10)
    pairs.flush()
    assert (len(deferred), len(pairs)) == (50, 0)
