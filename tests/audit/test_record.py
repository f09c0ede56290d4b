"""The audit record: its keys, its limits, and what it never contains."""

import datetime as dt
import json

import pytest

from tests.recorded_reviews import recorded
from tests.reviews import review
from webhook.audit.record import encode_record
from webhook.core.admission_request import Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import Decision, Finding, Outcome, Violation
from webhook.core.evaluate import evaluate
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Action

NOW = dt.datetime(2026, 11, 23, 12, 30, tzinfo=dt.timezone(dt.timedelta(hours=1)))
CLUSTER = ClusterState({"demo": {"app-token": "app"}})
KEYS = [
    "time", "id", "uid", "webhook", "decision", "operation", "resource", "namespace", "name", "owner",
    "serviceAccount", "user", "dryRun", "findings", "patch", "exemption", "policy", "durationMs",
]  # fmt: skip


def record_of(body: bytes, phase: Phase):
    request = read_review(body, phase)
    return json.loads(encode_record(request, evaluate(request, default_policy(), CLUSTER, NOW), NOW, 0.0012345))


def test_record_has_the_keys_of_the_contract_in_order():
    line = record_of(recorded("pod-dry-run.pods", "validate"), Phase.VALIDATE)
    assert list(line) == KEYS
    assert line["time"] == "2026-11-23T11:30:00Z"
    assert line["id"] == line["uid"][:8]
    assert (line["webhook"], line["decision"], line["dryRun"], line["durationMs"]) == (
        "validate",
        "denied",
        True,
        1.234,
    )
    assert (line["namespace"], line["name"], line["serviceAccount"], line["user"]) == (
        "demo",
        "dry-run",
        "app",
        "admin",
    )
    assert set(line["findings"][0]) == {"rule", "action", "path", "detail"}


def test_record_of_a_controlled_pod_has_generate_name_and_owner():
    line = record_of(recorded("workload-deployment-seed.pods", "mutate"), Phase.MUTATE)
    assert line["owner"].startswith("ReplicaSet/token-consumer-")
    assert line["generateName"].startswith("token-consumer-")
    assert "name" not in line


@pytest.mark.parametrize(
    ("case", "account"),
    [
        ("pod-plain.pods", "app"),
        ("pod-no-automount.pods", "default"),
        ("secret-legacy.secrets", "app"),
        ("token-long.serviceaccounts-token", "app"),
        ("workload-cronjob-legacy.cronjobs", "app"),
        ("serviceaccount.serviceaccounts", "robot"),
    ],
)
def test_service_account_is_the_one_whose_token_is_concerned(case, account):
    assert record_of(recorded(case, "validate"), Phase.VALIDATE)["serviceAccount"] == account


@pytest.mark.covers("threat-model: tokens in memory or logs")
def test_record_contains_no_secret_and_no_env_value():
    secret = json.loads(recorded("secret-legacy.secrets", "validate"))["request"]["object"]
    secret["data"] = {"token": "c2VjcmV0LXZhbHVl"}
    pod = json.loads(recorded("pod-legacy-env.pods", "validate"))["request"]["object"]
    pod["spec"]["containers"][0]["env"].append({"name": "PASSWORD", "value": "secret-value"})
    log = "".join(json.dumps(record_of(review(manifest), Phase.VALIDATE)) for manifest in (secret, pod))
    assert log.count("durationMs") == 2
    assert "secret-value" not in log
    assert "c2VjcmV0LXZhbHVl" not in log


@pytest.mark.covers("threat-model: expensive pod")
def test_record_is_bounded_whatever_the_object_contains():
    tokens = [{"serviceAccountToken": {"path": f"p{at}"}} for at in range(500)]
    pod = {
        "kind": "Pod",
        "metadata": {"name": "p" * 5000},
        "spec": {"containers": [{"name": "a"}], "volumes": [{"name": "t", "projected": {"sources": tokens}}]},
    }
    policy = read_policy(
        b"apiVersion: tokenguard/v1\nkind: TokenPolicy\ntokens: {audiences: {allowed: [a], default: a}}\n"
    )
    request = read_review(review(pod), Phase.MUTATE)
    decision = evaluate(request, policy, CLUSTER, NOW)
    line = json.loads(encode_record(request, decision, NOW, 0.0))
    assert (len(line["findings"]), len(line["patch"])) == (25, 50)
    assert line["leftOut"] == {"findings": len(decision.findings) - 25, "patch": len(decision.patch) - 50}
    assert len(line["name"]) == 1024


def test_long_text_is_cut_and_a_long_operation_left_out():
    request = read_review(recorded("pod-plain.pods", "mutate"), Phase.MUTATE)
    operations = ({"op": "add", "path": "/a", "value": "v" * 10_000}, {"op": "remove", "path": "/b"})
    finding = Finding("inject", Action.PATCH, Action.PATCH, Violation("/" + "p" * 5000, "d" * 5000))
    decision = Decision(Outcome.PATCHED, (finding,), operations, note="n" * 5000, problem="p" * 5000)
    line = json.loads(encode_record(request, decision, NOW, 0.0))
    assert line["patch"] == [{"op": "remove", "path": "/b"}]
    assert line["leftOut"] == {"patch": 1}
    (only_finding,) = line["findings"]
    assert [len(text) for text in (only_finding["path"], only_finding["detail"], line["note"], line["problem"])] == [
        1024
    ] * 4


def test_encoded_patch_escapes_control_characters():
    request = read_review(recorded("pod-plain.pods", "mutate"), Phase.MUTATE)
    value = "\u2028\x7f##[error]\U000e0001"
    decision = Decision(Outcome.PATCHED, patch=({"op": "add", "path": "/a", "value": value},))
    line = encode_record(request, decision, NOW, 0.0)
    assert line.isascii()
    assert b"##" not in line
    assert json.loads(line)["patch"] == list(decision.patch)


@pytest.mark.parametrize("count", [50, 51])
def test_encoded_patch_at_its_limit_has_fifty_operations(count):
    request = read_review(recorded("pod-plain.pods", "mutate"), Phase.MUTATE)
    operations = tuple({"op": "add", "path": f"/{number}", "value": "v" * 200} for number in range(count))
    line = json.loads(encode_record(request, Decision(Outcome.PATCHED, patch=operations), NOW, 0.0))
    assert line["patch"] == list(operations[:50])
    assert line.get("leftOut") == ({"patch": 1} if count > 50 else None)
