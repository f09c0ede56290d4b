"""A scan as policy reports: what a result says about an object, and what a report does when there are too many."""

import json
from typing import Any

import pytest
import yaml

from tests.scan.small_cluster import NOW, Small, account, csi_driver, live, named_secret, of, secret, spec
from webhook.core.webhook_namespaces import WebhookScope, WebhookScopes
from webhook.formatters import scan_policyreport
from webhook.formatters.scan_policyreport import LEFT_OUT, MAX_BYTES, RESULTS, policy_reports
from webhook.scan.pod_admission import AdmissionHistory
from webhook.scan.report import ScanReport
from webhook.scan.report_api import OPEN_REPORTS, REPORT_APIS, WG_POLICY

SECRET_OFF = 'rules: {legacy-token-secret: "off"}\n'
TIMESTAMP = {"seconds": int(NOW.timestamp()), "nanos": 0}


def reports(report: ScanReport, api=WG_POLICY) -> dict[str, Any]:
    return {
        policy_report["metadata"].get("namespace", ""): policy_report for policy_report in policy_reports(report, api)
    }


def results(report: ScanReport, **where: str) -> list[dict[str, Any]]:
    [policy_report] = reports(report).values()
    return [result for result in policy_report["results"] if where.items() <= result.items()]


def readers() -> Small:
    """Return a Deployment that reads a legacy Secret, and one that doesn't, with a pod each."""
    small = Small(secret("old")).deployment("reader", spec(container=named_secret("old")))
    small.pod("reader-1-a", live(3600) | spec(container=named_secret("old")), uid="u-1", **of("ReplicaSet", "reader-1"))
    small.deployment("web", spec()).pod("web-1-a", live(3600), uid="u-2", **of("ReplicaSet", "web-1"))
    return small


@pytest.mark.parametrize("api", REPORT_APIS, ids=lambda api: api.group)
def test_report_has_the_fields_of_its_api(api) -> None:
    policy_report = reports(readers().scan(), api)["shop"]
    assert (policy_report["apiVersion"], policy_report["kind"]) == (api.api_version, api.kind)
    assert policy_report["metadata"] == {
        "name": "tokenguard", "namespace": "shop", "labels": {"app.kubernetes.io/managed-by": "tokenguard"},
    }  # fmt: skip
    assert policy_report["scope"] == {"apiVersion": "v1", "kind": "Namespace", "name": "shop"}
    assert policy_report.get("source") == ("tokenguard" if api is OPEN_REPORTS else None)
    assert sum(policy_report["summary"].values()) == len(policy_report["results"])


def test_rejected_workload_fails_once_for_its_pods_and_template() -> None:
    [result] = results(readers().scan(SECRET_OFF), category="If recreated", result="fail")
    assert result == {
        "source": "tokenguard", "policy": "token-policy", "rule": "legacy-token-reference", "category": "If recreated",
        "severity": "high", "result": "fail", "scored": True, "timestamp": TIMESTAMP,
        "message": 'spec.containers[0].env[0] reads the long-lived token of "app" in Secret "old"; mount a projected '
        "token instead",
        "resources": [{"kind": "Deployment", "namespace": "shop", "name": "reader"}],
        "properties": {"action": "reject", "path": "spec.containers[0].env[0]"},
    }  # fmt: skip


@pytest.mark.parametrize(("policy", "expected"), [
    ("rules: {legacy-token-reference: reject}", ("fail", "high", True)),
    ("rules: {legacy-token-reference: warn}", ("warn", "low", False)),
    ("rules: {legacy-token-reference: audit}", ("warn", "info", False)),
    ("mode: warn", ("warn", "low", False)), ("mode: audit", ("warn", "info", False)),
    ("exemptions: [{rules: [legacy-token-reference], reason: soon, until: 2027-01-01}]", ("skip", "info", False)),
])  # fmt: skip
def test_action_decides_result_and_severity(policy, expected) -> None:
    of_rule = [
        result
        for result in results(readers().scan(f"{policy}\n"), rule="legacy-token-reference")
        if result["resources"][0]["kind"] == "Deployment"
    ]
    assert [(result["result"], result["severity"], result["scored"]) for result in of_rule] == [expected]


def test_exemption_says_its_reason_and_end() -> None:
    exemption = "exemptions: [{rules: [legacy-token-reference], reason: INFRA-1, until: 2027-01-01}]\n"
    [result] = results(readers().scan(exemption), result="skip")
    finding = 'spec.containers[0].env[0] reads the long-lived token of "app" in Secret "old"'
    assert result["message"] == f"exempt: {finding} (exemption until 2027-01-01: INFRA-1)"
    path = finding.partition(" ")[0]
    assert result["properties"] == {"path": path, "exemption": "exemptions[0]", "until": "2027-01-01"}


def test_workload_without_findings_passes() -> None:
    [patched] = results(readers().scan(), result="pass")
    assert (patched["message"], patched["resources"][0]["name"]) == ("patched by token-expiration", "web")
    keep = "apiServerToken: {expiration: keep}\n"
    assert [result["message"] for result in results(readers().scan(keep), result="pass")] == ["no violation"]


def test_workload_that_is_excluded_is_skipped() -> None:
    [result] = results(Small().pod("a", live(), namespace="kube-system", uid="u").scan())
    assert (result["result"], result["message"]) == ("skip", "namespace kube-system is excluded")
    assert result["resources"] == [
        {"apiVersion": "v1", "kind": "Pod", "namespace": "kube-system", "name": "a", "uid": "u"}
    ]


HISTORY = AdmissionHistory(NOW.replace(day=20), NOW.replace(day=21), is_known=True)


@pytest.mark.parametrize(("day", "admission", "category"), [
    (19, "before-installation", "Admitted without evaluation"),
    (20, "undetermined", "Would be denied as it runs"),
    (22, "not-evaluated", "Admitted without evaluation"),
])  # fmt: skip
def test_pod_that_runs_unpatched_fails_with_owner_and_hint(day, admission, category) -> None:
    small = Small().deployment("web", spec())
    created = f"2026-11-{day}T13:00:00Z"
    small.pod("web-1-a", live(), uid="u", creationTimestamp=created, **of("ReplicaSet", "web-1"))
    small.snapshot.history = HISTORY
    [result] = results(small.scan(), rule="token-expiration")
    assert (result["category"], result["result"], result["severity"]) == (category, "fail", "medium")
    assert result["properties"] == {"admission": admission, "owner": "Deployment/web", "created": created}
    assert result["resources"] == [
        {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-1-a", "uid": "u"}
    ]
    assert "Owner: Deployment/web. What to do: kubectl rollout restart deployment/web -n shop" in result["message"]


def test_pod_in_an_excluded_namespace_is_skipped() -> None:
    small = Small().pod("a", live(), creationTimestamp="2026-11-22T13:00:00Z")
    small.snapshot.history = HISTORY._replace(scopes=WebhookScopes(WebhookScope(excluded=frozenset({"shop"}))))
    [result] = results(small.scan(), rule="token-expiration")
    assert (result["result"], result["severity"], result["scored"]) == ("skip", "info", False)
    assert result["category"] == "Admitted without evaluation"
    assert "as the webhook configuration excludes the namespace: " in result["message"]
    hint = "What to do: nothing; or include the namespace in the webhook configuration, and scan again"
    assert result["message"].endswith(hint)


def test_pod_with_many_findings_says_how_many_more() -> None:
    names = [{"name": f"T{number}", **named_secret("old")["env"][0]} for number in range(8)]
    small = Small(secret("old")).pod("a", live(3600) | spec(container={"env": names}))
    small.snapshot.history = HISTORY
    [result] = results(small.scan(), category="Would be denied as it runs")
    assert (result["message"].count("(legacy-token-reference)"), "; and 3 more. Owner: " in result["message"]) == (
        5,
        True,
    )
    assert result["severity"] == "high"


def test_secret_account_and_driver_have_results_of_their_own() -> None:
    small = Small(secret("old", last_used="2026-11-20"), accounts=(account("app", secrets=[{"name": "old"}]),))
    small.snapshot.csi_drivers.append(csi_driver("vault", {"audience": "v", "expirationSeconds": 86400}))
    by_namespace = reports(small.scan("rules: {legacy-token-reference: reject}\n"))
    [driver] = by_namespace[""]["results"]
    assert (by_namespace[""]["kind"], "scope" in by_namespace[""], driver["resources"]) == (
        "ClusterPolicyReport", False, [{"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "name": "vault"}],
    )  # fmt: skip
    by_kind = {result["resources"][0]["kind"]: result for result in by_namespace["shop"]["results"]}
    assert by_kind["Secret"]["properties"] == {
        "action": "reject", "path": "type", "serviceAccount": "app", "removable": "false", "lastUsed": "2026-11-20",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "state", "removable"),
    [
        pytest.param(secret("old"), "safe to delete", "true", id="unused"),
        pytest.param(secret("old", invalid_since="2026-11-01"), "marked invalid 2026-11-01", "false", id="invalid"),
    ],
)
def test_secret_not_in_use_is_skipped(given, state, removable) -> None:
    small = Small(given)
    if removable == "false":
        small.pod("reads", spec(container=named_secret("old")))
    [result] = [entry for entry in results(small.scan()) if entry["resources"][0]["kind"] == "Secret"]
    assert (result["result"], result["severity"], "rule" in result) == ("skip", "info", False)
    assert result["message"] == f"contains a token that never expires; not in use: {state}"
    assert result["properties"] == {"serviceAccount": "app", "removable": removable}


def test_names_and_reasons_cannot_control_a_terminal() -> None:
    exemption = 'exemptions: [{rules: [legacy-token-reference], reason: "a\\u202e\\u001b[31m", until: never}]\n'
    text = "".join(scan_policyreport.format_report(readers().scan(exemption)))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_printed_reports_are_the_written_ones() -> None:
    report = readers().scan()
    printed = list(yaml.safe_load_all("".join(scan_policyreport.format_report(report))))
    assert printed == list(policy_reports(report, WG_POLICY))


def crowd(pods: int) -> ScanReport:
    small = Small(secret("old"))
    small.snapshot.history = HISTORY
    for number in range(pods):
        small.pod(f"pod-{number:05}", live() | spec(container=named_secret("old")), uid=f"{number:036}")
        small.pod(f"sound-{number:05}", live(3600), uid=f"{number:036}")
    return small.scan()


@pytest.mark.covers("failure-modes: report too large")
def test_full_report_says_what_it_leaves_out() -> None:
    policy_report = reports(crowd(1200))["shop"]
    assert policy_report["summary"] == {"error": 0, "fail": 2401, "warn": 0, "skip": 0, "pass": 1200}
    *results, last = policy_report["results"]
    missing = 3601 - len(results)
    assert missing > 0
    assert policy_report["metadata"]["annotations"] == {LEFT_OUT: str(missing)}
    assert last["message"] == f"{missing} more results do not fit into this report; see 'tokenguard scan'"
    assert MAX_BYTES * 0.99 < len(json.dumps(results, separators=(",", ":"))) <= MAX_BYTES
    assert [RESULTS.index(result["result"]) for result in results] == sorted(
        RESULTS.index(result["result"]) for result in results
    )
    assert all("admission" in result["properties"] for result in results[:1200])
    assert scan_policyreport.left_out(policy_report) == missing


def test_report_that_fits_leaves_nothing_out() -> None:
    policy_report = reports(crowd(10))["shop"]
    assert (len(policy_report["results"]), "annotations" in policy_report["metadata"]) == (31, False)


def test_counts_are_the_sum_of_the_summaries() -> None:
    written = reports(crowd(10)).values()
    assert scan_policyreport.result_counts(written) == {"error": 0, "fail": 21, "warn": 0, "skip": 0, "pass": 10}
