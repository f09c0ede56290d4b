"""The function behind both review paths, without a server around it."""

import json

import pytest

from tests.recorded_reviews import recorded
from tests.reviews import review as made_review
from tests.server.replica import EXEMPTED, Replica
from tests.serving import POLICY, patch_of
from webhook.core.admission_request import Phase
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import read_policy
from webhook.server import review_handler
from webhook.server.admission_response import bounded

LEGACY = recorded("pod-legacy-env.pods", "validate")
PLAIN = recorded("pod-plain.pods", "mutate")


def test_exemption_is_in_annotations_and_audit_log():
    replica = Replica(POLICY + EXEMPTED)
    response = replica.response(LEGACY)
    assert response["allowed"] is True
    assert "legacy-token-reference: INFRA-123 (until 2026-12-31)" in response["auditAnnotations"]["exemption"]
    assert replica.audit.lines[0]["exemption"] == response["auditAnnotations"]["exemption"]
    exempted = 'tokenguard_exemptions_applied_total{resource_namespace="demo",rule="legacy-token-reference"} 1.0'
    assert exempted in replica.counted("exemptions_applied")


BY_ACCOUNT = """
exemptions:
- {rules: [legacy-token-reference], serviceAccounts: [app], reason: INFRA-123, until: never}
- {rules: [legacy-token-reference], serviceAccounts: [app, robot], reason: INFRA-124, until: never}
"""


def test_two_exemptions_of_a_rule_are_recorded_and_counted_once():
    replica = Replica(POLICY + BY_ACCOUNT)
    replica.state.use_cluster(ClusterState({"demo": {"app-token": "app", "robot-token": "robot"}}))
    env = [{"name": name, "valueFrom": {"secretKeyRef": {"name": name}}} for name in ("app-token", "robot-token")]
    pod = {"kind": "Pod", "spec": {"serviceAccountName": "app", "containers": [{"name": "c", "env": env}]}}
    response = replica.response(made_review(pod))
    both = "legacy-token-reference: INFRA-123 (until never); legacy-token-reference: INFRA-124 (until never)"
    assert response["auditAnnotations"]["exemption"] == replica.audit.lines[0]["exemption"] == both
    assert (
        'tokenguard_exemptions_applied_total{resource_namespace="demo",rule="legacy-token-reference"} 1.0'
        in replica.counted("exemptions_applied")
    )


def test_annotations_are_strings_without_empty_ones():
    annotations = Replica().response(recorded("pod-mirror.pods", "validate"))["auditAnnotations"]
    assert set(annotations) == {"id", "decision", "policy"}
    assert all(isinstance(value, str) for value in annotations.values())
    assert len(annotations["policy"]) == 12


@pytest.mark.parametrize("mode", ["warn", "audit"])
def test_mode_warn_or_audit_neither_patches_nor_denies(mode):
    replica = Replica(POLICY + f"mode: {mode}\n")
    assert patch_of(replica.response(PLAIN, Phase.MUTATE)) == []
    response = replica.response(LEGACY)
    assert response["allowed"] is True
    assert bool(response.get("warnings")) is (mode == "warn")


@pytest.mark.covers("failure-modes: mutating webhook failed")
@pytest.mark.parametrize("allowed", [False, True])
def test_unpatched_pod_is_denied_or_recorded_as_configured(allowed):
    replica = Replica(allows_unpatched_pods=allowed)
    response = replica.response(PLAIN)
    assert response["allowed"] is allowed
    [record] = replica.audit.lines
    assert record["decision"] == ("allowed" if allowed else "denied")
    assert {finding["action"] for finding in record["findings"]} == {"audit" if allowed else "reject"}
    assert all("the mutating webhook did not run" in finding["detail"] for finding in record["findings"])


def test_unpatched_pod_is_denied_for_what_its_author_wrote():
    replica = Replica(allows_unpatched_pods=True)
    denial = replica.response(recorded("pod-long-expiration.pods", "mutate"))
    assert denial["allowed"] is False
    assert "exceeding the maximum" in denial["status"]["message"]


def test_unpatched_pod_gets_its_warnings():
    replica = Replica(POLICY + "rules: {legacy-token-reference: warn}\n", allows_unpatched_pods=True)
    response = replica.response(recorded("pod-legacy-env.pods", "mutate"))
    assert response["allowed"] is True
    assert {warning.partition(": ")[0] for warning in response["warnings"]} == {"legacy-token-reference"}


@pytest.mark.parametrize(("level", "lines"), [("decisions", 0), ("all", 1)])
def test_plain_allow_is_recorded_only_at_level_all(level, lines):
    replica = Replica(level=level)
    replica.response(recorded("serviceaccount.serviceaccounts", "mutate"), Phase.MUTATE)
    assert [line["note"] for line in replica.audit.lines] == ["serviceaccounts: evaluated in /validate"] * lines


def test_review_without_a_policy_is_denied_and_recorded():
    replica = Replica(policy="")
    replica.state.set_not_ready("policy", "policy not loaded: it isn't there")
    response = replica.response(PLAIN, Phase.MUTATE)
    assert response["status"]["code"] == 503
    assert "policy not loaded: it isn't there" in response["status"]["message"]
    assert replica.audit.lines[0]["decision"] == "denied"


WARN_ONLY = ("workload-statefulset-legacy.statefulsets", "serviceaccount.serviceaccounts")


@pytest.mark.parametrize("case", WARN_ONLY)
def test_workload_without_a_policy_is_allowed_with_a_warning(case):
    replica = Replica(policy="")
    replica.state.set_not_ready("policy", "policy not loaded: it isn't there")
    response = replica.response(recorded(case, "validate"))
    assert response["allowed"] is True
    assert response["warnings"] == ["tokenguard is not ready: policy not loaded: it isn't there"]


@pytest.mark.parametrize(("namespace", "allowed"), [("security", True), ("tokenguard", False)])
def test_own_pods_without_a_policy_are_allowed(namespace, allowed):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": {"containers": [{"name": "app"}]}}
    replica = Replica(policy="", own_namespace="security")
    assert replica.response(made_review(pod, namespace=namespace))["allowed"] is allowed


BAD_POLICY = recorded("policy-mistakes.configmaps", "validate")
MISTAKES = [
    'line 3: unknown key "modee"; did you mean "mode"?',
    "line 4: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not 5",
]


@pytest.mark.parametrize("policy", ["", POLICY, POLICY + "mode: audit\n"], ids=["none", "enforce", "audit"])
def test_policy_is_evaluated_without_a_policy_in_force(policy):
    replica = Replica(policy)
    assert replica.response(recorded("policy-sound.configmaps", "validate"))["allowed"] is True
    assert replica.response(BAD_POLICY, Phase.MUTATE)["allowed"] is True
    response = replica.response(BAD_POLICY)
    assert response["allowed"] is False
    assert response["auditAnnotations"]["rules"] == "invalid-policy"
    assert "warnings" not in response
    status = response["status"]
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["message"].splitlines() == [*MISTAKES, "[tokenguard 593fd6de: see 'tokenguard policy validate']"]


def test_policy_errors_are_causes_followed_by_the_decision_id():
    details = Replica().response(BAD_POLICY)["status"]["details"]
    assert (details["kind"], details["name"]) == ("ConfigMap", "token-policy")
    causes = [{"field": "data[policy.yaml]", "message": mistake, "reason": "FieldValueInvalid"} for mistake in MISTAKES]
    reference = {"field": "tokenguard 593fd6de", "message": "see 'tokenguard policy validate'"}
    assert details["causes"] == [*causes, reference]


def test_denied_policy_is_recorded_with_its_errors():
    replica = Replica()
    replica.response(BAD_POLICY)
    (line,) = replica.audit.lines
    assert (line["decision"], line["resource"], line["name"]) == ("denied", "configmaps", "token-policy")
    assert [tuple(finding.values()) for finding in line["findings"]] == [
        ("invalid-policy", "reject", "data[policy.yaml]", mistake) for mistake in MISTAKES
    ]
    assert replica.counted("reviews") == [
        'tokenguard_reviews_total{decision="denied",operation="UPDATE",resource="configmaps",webhook="validate"} 1.0'
    ]


def test_answer_to_a_policy_with_many_errors_is_bounded():
    review = json.loads(BAD_POLICY)
    review["request"]["object"]["data"]["policy.yaml"] = "".join(f"a{number}:\n" for number in range(20_000))
    replica = Replica()
    answer = replica.answer(json.dumps(review).encode())
    assert len(answer.body) < 3 * 65_536
    status = json.loads(answer.body)["response"]["status"]
    assert " more errors\n[tokenguard " in status["message"]
    assert status["details"]["causes"][-2]["message"].endswith(" more errors")
    (line,) = replica.audit.lines
    assert len(line["findings"]) == 25
    assert line["leftOut"]["findings"] > 100


@pytest.mark.parametrize("part", [{"data": ["a"]}, {"data": {"policy.yaml": 7}}, {"metadata": {"labels": "true"}}])
@pytest.mark.parametrize("policy", ["", POLICY + "mode: warn\n"], ids=["none", "warn"])
def test_unreadable_config_map_is_denied(policy, part):
    review = json.loads(BAD_POLICY)
    review["request"]["object"] |= part
    response = Replica(policy).response(json.dumps(review).encode())
    assert response["status"]["code"] == 400
    assert response["status"]["message"].startswith("the object can't be read: ")
    assert " must be a" in response["status"]["message"]


def test_config_map_is_decoded_only_as_far_as_evaluated():
    review = json.loads(recorded("policy-sound.configmaps", "validate"))
    review["request"]["object"]["data"]["other"] = {"not": "text"}
    review["request"]["object"]["binaryData"] = {"other": 7}
    review["request"]["object"]["metadata"]["annotations"] = ["not a map"]
    review["request"]["object"]["metadata"]["labels"]["other"] = 7
    assert Replica().response(json.dumps(review).encode())["allowed"] is True


def test_object_of_no_rule_without_a_policy_is_allowed():
    review = json.loads(BAD_POLICY)
    review["request"] |= {"operation": "DELETE", "object": None}
    assert Replica(policy="").response(json.dumps(review).encode())["allowed"] is True


def fail(*_):
    secret = "contents of the object"
    raise KeyError(secret)


@pytest.mark.parametrize(("mode", "allowed"), [("enforce", False), ("warn", True), ("audit", True)])
@pytest.mark.covers("threat-model: unreadable object")
def test_bug_costs_one_decision_and_logs_no_object(monkeypatch, caplog, mode, allowed):
    monkeypatch.setattr(review_handler, "evaluate", fail)
    replica = Replica(POLICY + f"mode: {mode}\n")
    response = replica.response(LEGACY)
    assert response["allowed"] is allowed
    if not allowed:
        assert response["status"]["code"] == 500
        assert response["uid"][:8] in response["status"]["message"]
    assert "in fail" in caplog.text
    assert response["uid"][:8] in caplog.text
    assert "contents of the object" not in caplog.text
    assert replica.counted("internal_errors") == ["tokenguard_internal_errors_total 1.0"]
    assert replica.audit.lines[0]["problem"]


@pytest.mark.parametrize(("mode", "warned"), [("enforce", True), ("warn", True), ("audit", False)])
@pytest.mark.parametrize("case", WARN_ONLY)
def test_bug_denies_no_workload(monkeypatch, case, mode, warned):
    monkeypatch.setattr(review_handler, "evaluate", fail)
    response = Replica(POLICY + f"mode: {mode}\n").response(recorded(case, "validate"))
    assert response["allowed"] is True
    assert bool(response.get("warnings")) is warned


@pytest.mark.parametrize("policy", ["", POLICY + "mode: audit\n"], ids=["none", "audit"])
def test_bug_lets_no_policy_pass(monkeypatch, policy):
    monkeypatch.setattr(review_handler, "evaluate", fail)
    monkeypatch.setattr(review_handler, "policy_independent_decision", fail)
    response = Replica(policy).response(recorded("policy-sound.configmaps", "validate"))
    assert response["status"]["code"] == 500


def test_custom_kind_of_the_policy_is_evaluated():
    workloads = "workloads: [{apiGroup: example.com, kind: Runner, template: /spec/template}]\n"
    spec = {"containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "app-token"}}]}]}
    runner = {"apiVersion": "example.com/v1", "kind": "Runner", "spec": {"template": {"spec": spec}}}
    replica = Replica(POLICY + workloads)
    [warning] = replica.response(made_review(runner))["warnings"]
    assert "spec.template.spec.containers[0].envFrom[0] reads the long-lived token" in warning
    assert [line["decision"] for line in replica.audit.lines] == ["warned"]
    assert "warnings" not in Replica().response(made_review(runner))


def test_review_is_evaluated_by_the_policy_it_was_read_with(monkeypatch):
    replica = Replica()
    read = review_handler.read_review

    def read_while_the_policy_changes(*given):
        replica.state.use_policy(read_policy((POLICY + "mode: warn\n").encode()))
        return read(*given)

    monkeypatch.setattr(review_handler, "read_review", read_while_the_policy_changes)
    assert replica.response(LEGACY)["allowed"] is False
    monkeypatch.undo()
    assert replica.response(LEGACY)["allowed"] is True


def test_bug_in_reading_is_answered(monkeypatch):
    monkeypatch.setattr(review_handler, "read_review", fail)
    replica = Replica()
    assert replica.answer(PLAIN, Phase.MUTATE).status == 400
    assert replica.counted("internal_errors") == ["tokenguard_internal_errors_total 1.0"]


def failures(replica: Replica) -> set[str]:
    """Return the reasons for which reviews could not be evaluated."""
    counted = [line for line in replica.counted("review_failures") if not line.endswith(" 0.0")]
    assert len(replica.counted("review_failures")) == 10
    return {line.split('reason="')[1].split('"')[0] for line in counted}


def test_review_failures_are_counted_by_reason(monkeypatch):
    ready, waiting = Replica(), Replica(policy="")
    assert failures(ready) == set()
    waiting.response(PLAIN)
    assert failures(waiting) == {"not_ready"}
    review = json.loads(PLAIN)
    review["request"]["object"]["spec"] = "no spec"
    ready.response(json.dumps(review).encode())
    assert failures(ready) == {"invalid_object"}
    monkeypatch.setattr(review_handler, "evaluate", fail)
    ready.response(PLAIN)
    assert failures(ready) == {"invalid_object", "internal_error"}


@pytest.mark.covers("threat-model: metrics cardinality")
def test_label_values_are_bounded_whatever_is_sent():
    replica = Replica()
    for number in range(50):
        review = json.loads(PLAIN)
        review["request"]["operation"] = f"OP{number}" if number % 2 else "CREATE"
        review["request"]["resource"]["resource"] = f"things{number}"
        review["request"]["kind"]["kind"] = "Thing"
        replica.response(json.dumps(review).encode())
    assert replica.counted("reviews") == [
        'tokenguard_reviews_total{decision="allowed",operation="CREATE",resource="other",webhook="validate"} 25.0',
        'tokenguard_reviews_total{decision="denied",operation="other",resource="other",webhook="validate"} 25.0',
    ]


HELP = "for help, see https://wiki.example.com/tokens or contact #platform"
HELPFUL = 'messages: {url: "https://wiki.example.com/tokens", contact: "#platform"}\n'


def test_denial_has_the_help_of_the_policy():
    response = Replica(POLICY + HELPFUL).response(LEGACY)
    assert response["status"]["message"].splitlines()[-2] == HELP
    assert "warnings" not in response


@pytest.mark.parametrize("mode", ["warn", "audit"])
def test_warnings_end_with_the_help_of_the_policy(mode):
    warnings = Replica(POLICY + HELPFUL + f"mode: {mode}\n").response(LEGACY).get("warnings", [])
    assert warnings[-1:] == ([HELP] if mode == "warn" else [])
    assert warnings.count(HELP) == len(warnings[-1:])


def test_help_of_the_policy_is_beside_many_warnings():
    assert bounded(("w" * 5000, "x"), HELP)[-2:] == ["and 1 more", HELP]
    assert sum(len(warning.encode()) for warning in bounded(("w" * 5000, "x"), HELP)) <= 4096


@pytest.mark.parametrize("broken", ["object", "evaluate", "audit log"])
def test_object_that_is_not_evaluated_is_denied_with_help(monkeypatch, broken):
    replica, review, phase = Replica(POLICY + HELPFUL), json.loads(LEGACY), Phase.VALIDATE
    if broken == "object":
        review["request"]["object"]["spec"] = "no spec"
    elif broken == "evaluate":
        monkeypatch.setattr(review_handler, "evaluate", fail)
    else:
        monkeypatch.setattr(replica.log, "record", lambda *_: False)
        review, phase = json.loads(PLAIN), Phase.MUTATE
    message = replica.response(json.dumps(review).encode(), phase)["status"]["message"]
    assert message.splitlines()[1] == HELP


def test_warnings_have_no_control_characters():
    assert bounded(("a\nb\x00c",)) == ["a b c"]


@pytest.mark.parametrize(
    ("warnings", "last"),
    [(("ż" * 1000,) * 5, "and 3 more"), (("w" * 5000, "x"), "and 1 more"), (("a", "b"), "b")],
    ids=["many", "one that is too long", "few"],
)
@pytest.mark.covers("threat-model: expensive pod")
def test_warnings_fit_the_limit_of_the_api_server(warnings, last):
    shortened = bounded(warnings)
    assert shortened[-1] == last
    assert sum(len(warning.encode()) for warning in shortened) <= 4096
