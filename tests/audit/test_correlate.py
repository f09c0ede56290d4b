"""A pod that both webhooks speak of counts once, by what became of it."""

import random

import pytest

from tests.audit.log_lines import mutate, own
from webhook.audit.correlate import Correlator
from webhook.audit.events import AuditOutcome
from webhook.audit.log_entry import decode_entry
from webhook.audit.parse_tokenguard import parse_record

INJECTED = "inject: patch"
LEGACY = "legacy-token-reference: reject"


def counted(*lines: bytes, most: int = 20_000):
    found = []
    pairs = Correlator(found.append, most)
    for line in lines:
        pairs.add(parse_record(decode_entry(line)))
    pairs.flush()
    return found


def test_what_was_patched_and_then_denied_is_denied():
    (one,) = counted(mutate(0, INJECTED), own(0.01, LEGACY))
    assert one.outcome is AuditOutcome.DENIED
    assert dict(one.rules) == {"legacy-token-reference": AuditOutcome.DENIED, "inject": AuditOutcome.PATCHED}


def test_what_was_patched_and_then_warned_of_is_patched():
    (one,) = counted(mutate(0, INJECTED), own(0.01, "token-subpath: warn", decision="warned"))
    assert one.outcome is AuditOutcome.PATCHED


def test_a_rule_that_both_found_broken_counts_by_the_stronger():
    (one,) = counted(mutate(0, "inject: patch"), own(0.01, "inject: reject"))
    assert one.rules == (("inject", AuditOutcome.DENIED),)


def test_an_exemption_that_both_tell_of_counts_once():
    exempt = {
        "decision": "allowed",
        "exemption": "inject: PLAT-1; old (until never); token-subpath: x (until 2026-12-31)",
    }
    (one,) = counted(mutate(0, **exempt), own(0.01, **exempt))
    assert one.exemptions == (("inject", "PLAT-1; old (until never)"), ("token-subpath", "x (until 2026-12-31)"))
    assert one.outcome is AuditOutcome.ALLOWED


GENERATED = {"name": None, "generateName": "web-5d-", "owner": "ReplicaSet/web-5d"}


@pytest.mark.parametrize("base", ["web-5d-", "w" * 80])
def test_a_name_that_the_api_server_made_up_is_found_again(base):
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
def test_another_pod_is_another_one(changed):
    assert len(counted(mutate(0, INJECTED), own(0.01, LEGACY, **changed))) == 2


def test_the_same_name_much_later_is_another_pod():
    assert len(counted(mutate(0, INJECTED), own(31, LEGACY))) == 2
    assert len(counted(mutate(0, INJECTED), own(29, LEGACY))) == 1


def test_what_is_no_pod_is_asked_about_once():
    assert len(counted(own(0, resource="secrets"), own(0.01, resource="secrets"))) == 2


def test_a_pod_that_is_tried_again_counts_again():
    lines = [line for at in range(5) for line in (mutate(at, INJECTED), own(at + 0.01, LEGACY))]
    assert [one.outcome for one in counted(*lines)] == [AuditOutcome.DENIED] * 5


def test_many_pods_of_one_controller_at_once_count_each():
    lines = [mutate(at / 1000, INJECTED, **GENERATED) for at in range(100)]
    lines += [own(0.1 + at / 1000, LEGACY, name=f"web-5d-{at:05}", owner=GENERATED["owner"]) for at in range(40)]
    random.Random(1).shuffle(lines)
    outcomes = [one.outcome for one in counted(*lines)]
    assert (outcomes.count(AuditOutcome.DENIED), outcomes.count(AuditOutcome.PATCHED)) == (40, 60)


def test_only_so_many_lines_wait_for_their_other_half():
    lines = [mutate(0, INJECTED, name=f"app-{at}") for at in range(50)]
    found = []
    pairs = Correlator(found.append, 10)
    for line in lines:
        pairs.add(parse_record(decode_entry(line)))
    assert (len(found), len(pairs)) == (40, 10)
    pairs.flush()
    assert (len(found), len(pairs)) == (50, 0)
