"""The background scan as its CronJob runs it: reports, status, rights, and the pods that nobody evaluated."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.control_plane import scan_job
from tests.control_plane.installed import Installation, as_in_a_pod, installed
from tests.control_plane.live import account_kubeconfig
from tests.control_plane.plane import ControlPlane, own_plane
from tests.control_plane.report_kinds import definitions
from tests.control_plane.scan_job import COMPONENT, job_arguments, run_job
from tests.end_to_end.cluster import namespace_with, pod, reads_legacy, secret
from tests.manifests.rendering import render, the
from tests.serving import eventually
from webhook.scan.pod_admission import SETTLING
from webhook.scan.report_api import OPEN_REPORTS, REPORT_APIS, WG_POLICY, ReportApi
from webhook.scan.status import CONFIGMAP, KEY, MAX_AGE_KEY

SCANNER = "system:serviceaccount:tokenguard:tokenguard-scanner"
DRIVER = {
    "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "vault.example.com"},
    "spec": {"tokenRequests": [{"audience": "https://vault.example.com", "expirationSeconds": 86400}]},
}  # fmt: skip


class Scanned(NamedTuple):
    """An installation with a background scan, its kubeconfig, and the files that the replicas mount."""

    installation: Installation
    kubeconfig: Path
    mounted: Path

    @property
    def plane(self) -> ControlPlane:
        return self.installation.plane

    def scan(self, *flags: str) -> str:
        """Run what the CronJob runs, as its account; deliver its status as the kubelet does."""
        printed = run_job(self.kubeconfig, *flags)
        status = json.loads(self.plane.do("get", "configmap", CONFIGMAP, "-n", "tokenguard", "-o", "json"))
        for name, content in status["data"].items():
            (self.mounted / name).write_text(content)
        return printed

    def reports(self, api: ReportApi) -> dict[str, Any]:
        return scan_job.reports(self.plane, api)

    def results(self, name: str, api: ReportApi = WG_POLICY) -> list[dict[str, Any]]:
        """Return the results about an object in the namespace shop."""
        results = self.reports(api)["shop"]["results"]
        return [result for result in results if result["resources"][0]["name"] == name]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Return an installation: pod `before` is older, `evaluated` was evaluated, `slipped` came without a replica."""
    folder = tmp_path_factory.mktemp("background-scan")
    with own_plane(tmp_path_factory.mktemp("background-scan-plane")) as plane:
        plane.create(
            *namespace_with("default-accounts", "default"), *namespace_with("shop", "app"),
            *namespace_with("quiet", "app"), secret("app-token", "shop"), DRIVER, pod("before"),
            *(kind for api in REPORT_APIS for kind in definitions(api) if api is WG_POLICY),
        )  # fmt: skip
        if plane.kubectl("get", "serviceaccount", "default", "-n", "default").returncode:
            plane.do("create", "serviceaccount", "default", "-n", "default")
        mounted = folder / "mounted"
        mounted.mkdir()
        time.sleep(1)  # creation times are in seconds
        with installed(plane, folder, 1, None, "--scan-status", str(mounted / KEY)) as installation:
            objects = {"apiVersion": "v1", "kind": "List", "items": render(COMPONENT)}
            plane.do("apply", "-f", "-", stdin=objects)
            kubeconfig = account_kubeconfig(plane, folder / "scanner", account="tokenguard-scanner")
            scanned = Scanned(installation, kubeconfig, mounted)
            time.sleep(SETTLING.total_seconds() + 2)
            plane.create(pod("evaluated"), pod("idle", "quiet", automountServiceAccountToken=False))
            slip(plane, pod("slipped"), pod("reads", container=reads_legacy()))
            yield scanned


def slip(plane: ControlPlane, *pods: dict[str, Any]) -> None:
    """Create pods while the API server cannot call tokenguard, and lets them pass."""
    kind, name = "validatingwebhookconfiguration", "tokenguard"
    before = {}
    for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
        before[kind] = json.loads(plane.do("get", kind, name, "-o", "json"))
        changed = json.loads(json.dumps(before[kind]))
        for webhook in changed["webhooks"]:
            webhook["clientConfig"]["url"] = "https://127.0.0.1:1/nobody"
            webhook["failurePolicy"] = "Ignore"
        plane.do("replace", "-f", "-", stdin=changed)
    eventually(lambda: not plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=pods[-1]).returncode)
    plane.create(*pods)
    for configuration in before.values():
        configuration["metadata"].pop("resourceVersion")
        plane.do("replace", "-f", "-", stdin=configuration)
    eventually(lambda: plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=pod("x", container=reads_legacy()))
               .returncode)  # fmt: skip


def admissions(scanned: Scanned) -> dict[str, str]:
    return scan_job.admissions(scanned.reports(WG_POLICY)["shop"])


def test_scan_finds_the_pods_that_nobody_evaluated(scanned) -> None:
    printed = scanned.scan()
    assert "(wgpolicyk8s.io/v1alpha2)" in printed
    assert admissions(scanned) == {
        "before": "before-installation", "slipped": "not-evaluated", "reads": "not-evaluated",
    }  # fmt: skip
    [slipped] = [result for result in scanned.results("slipped") if result["result"] == "fail"]
    assert slipped["category"] == "Admitted without evaluation"
    assert slipped["message"].endswith("delete it and create it again: kubectl delete pod slipped -n shop")
    uid = scanned.plane.do("get", "pod", "slipped", "-n", "shop", "-o", "jsonpath={.metadata.uid}")
    assert slipped["resources"] == [
        {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "slipped", "uid": uid}
    ]
    assert [result["result"] for result in scanned.results("evaluated")] == ["pass"]
    assert [result["rule"] for result in scanned.results("app-token")] == ["legacy-token-secret"]
    [driver] = scanned.reports(WG_POLICY)[""]["results"]
    assert driver["resources"][0]["name"] == "vault.example.com"


def test_pods_of_an_excluded_namespace_are_listed_as_such(scanned) -> None:
    plane = scanned.plane
    kind = "validatingwebhookconfiguration"
    before = json.loads(plane.do("get", kind, "tokenguard", "-o", "json"))
    changed = json.loads(json.dumps(before))
    for webhook in changed["webhooks"]:
        webhook["namespaceSelector"]["matchExpressions"][0]["values"].append("shop")
    plane.do("replace", "-f", "-", stdin=changed)
    try:
        scanned.scan()
        assert set(admissions(scanned).values()) == {"excluded"}
    finally:
        before["metadata"].pop("resourceVersion")
        plane.do("replace", "-f", "-", stdin=before)
    scanned.scan()
    assert "excluded" not in admissions(scanned).values()


def test_second_scan_writes_nothing(scanned) -> None:
    scanned.scan()
    before = scanned.reports(WG_POLICY)
    assert "0 reports written, " in scanned.scan()
    assert scanned.reports(WG_POLICY) == before
    assert len(before) >= 3


@pytest.mark.covers("failure-modes: report edited")
def test_change_is_written_and_stale_reports_are_deleted(scanned) -> None:
    plane = scanned.plane
    scanned.scan()
    before = scanned.reports(WG_POLICY)
    plane.create(*namespace_with("short-lived", "app"), pod("extra", "short-lived"))
    assert "1 report written, " in scanned.scan()
    assert scanned.reports(WG_POLICY).keys() - before.keys() == {"short-lived"}
    plane.do("delete", "pod", "extra", "-n", "short-lived", "--force")
    plane.do(
        "patch", "policyreports.wgpolicyk8s.io", "tokenguard", "-n", "shop", "--type=merge", "-p", '{"results": []}'
    )
    assert "1 report written, " in (printed := scanned.scan())
    assert "1 deleted" in printed
    after = scanned.reports(WG_POLICY)
    assert after.keys() == before.keys()
    assert len(after["shop"]["results"]) == len(before["shop"]["results"])
    assert after["quiet"] == before["quiet"]


def test_other_group_is_written_on_request_the_first_is_pruned(scanned) -> None:
    plane = scanned.plane
    scanned.scan()
    expected = scanned.reports(WG_POLICY)
    plane.create(*definitions(OPEN_REPORTS))
    eventually(lambda: all(plane.ask("GET", path)[0] == 200 for path in OPEN_REPORTS.list_paths))
    assert "(wgpolicyk8s.io/v1alpha2)" in scanned.scan()
    printed = scanned.scan("--report-api", "openreports.io")
    assert f"{len(expected)} reports written, 0 unchanged, {len(expected)} deleted (openreports.io/v1alpha1)" in printed
    assert scanned.reports(WG_POLICY) == {}
    reports = scanned.reports(OPEN_REPORTS)
    assert {namespace: report["summary"] for namespace, report in reports.items()} == {
        namespace: report["summary"] for namespace, report in expected.items()
    }
    assert {report["source"] for report in reports.values()} == {"tokenguard"}
    assert "0 reports written, " in scanned.scan("--report-api", "openreports.io")
    assert {report["metadata"]["resourceVersion"] for report in scanned.reports(OPEN_REPORTS).values()} == {
        report["metadata"]["resourceVersion"] for report in reports.values()
    }
    scanned.scan()
    assert scanned.reports(OPEN_REPORTS) == {}


def test_replicas_export_the_status(scanned) -> None:
    scanned.scan()
    [server] = scanned.installation.replicas
    counts = scanned.reports(WG_POLICY)
    for result in ("fail", "warn", "skip", "pass"):
        expected = sum(report["summary"][result] for report in counts.values())
        assert server.metric("tokenguard_scan_results", result=result) == expected
    assert server.metric("tokenguard_scan_unevaluated_pods", admission="not-evaluated") == 2
    assert server.metric("tokenguard_scan_unevaluated_pods", admission="before-installation") == 1
    assert server.metric("tokenguard_scan_max_age_seconds") == int((scanned.mounted / MAX_AGE_KEY).read_text())
    written = json.loads((scanned.mounted / KEY).read_text())["time"]
    scanned.plane.do("apply", "-f", "-", stdin=the("ConfigMap", render(COMPONENT), CONFIGMAP))
    data = json.loads(scanned.plane.do("get", "configmap", CONFIGMAP, "-n", "tokenguard", "-o", "json"))["data"]
    assert json.loads(data[KEY])["time"] == written


def test_job_in_a_pod_finds_the_api_server(scanned, tmp_path) -> None:
    wrap, environment = as_in_a_pod(scanned.plane, tmp_path, "tokenguard-scanner")
    own = {"TOKENGUARD_OWN_NAMESPACE": "tokenguard", "TMPDIR": str(tmp_path), "HOME": "/nonexistent"}
    command = [*wrap, sys.executable, "-m", "webhook", *job_arguments()]
    environment = {key: value for key, value in environment.items() if key != "KUBECONFIG"} | own
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "(wgpolicyk8s.io/v1alpha2): " in done.stdout
    assert done.stderr == ""


def test_scanner_sends_no_other_requests(scanned) -> None:
    scanned.scan()
    events = [json.loads(line) for line in scanned.plane.audit.splitlines()]
    own = [
        event
        for event in events
        if event["user"]["username"] == SCANNER and {"objectRef", "responseStatus"} <= event.keys()
    ]
    written = {(event["verb"], event["objectRef"]["resource"]) for event in own if event["verb"] not in ("list", "get")}
    reports = {f"{kind.lower()}s" for api in REPORT_APIS for kind in (api.kind, api.cluster_kind)}
    assert written <= {
        ("patch", "configmaps"), *((verb, kind) for verb in ("create", "update", "delete") for kind in reports),
    }  # fmt: skip
    assert {event["responseStatus"]["code"] for event in own} <= {200, 201}


@pytest.mark.parametrize(("verb", "resource", "allowed"), [
    ("list", "policyreports.wgpolicyk8s.io/tokenguard", True), ("update", "reports.openreports.io/tokenguard", True),
    ("delete", "clusterpolicyreports.wgpolicyk8s.io/tokenguard", True),
    ("create", "policyreports.wgpolicyk8s.io", True), ("delete", "policyreports.wgpolicyk8s.io/other", False),
    ("list", "policyreports.wgpolicyk8s.io", False),
    ("update", "clusterreports.openreports.io/other", False), ("patch", "configmaps/token-policy", False),
    ("get", "secrets", False), ("create", "pods", False), ("delete", "pods", False),
    ("list", "validatingwebhookconfigurations/other", False),
])  # fmt: skip
def test_scanner_may_write_reports_of_its_name_only(scanned, verb, resource, allowed) -> None:
    done = scanned.plane.kubectl("auth", "can-i", verb, resource, f"--as={SCANNER}", "-n", "tokenguard")
    assert done.stdout.strip() == ("yes" if allowed else "no"), done.stderr


def test_serving_account_has_no_right_to_reports_and_status(scanned) -> None:
    account = "system:serviceaccount:tokenguard:tokenguard"
    for resource in ("configmaps/tokenguard-scan", "policyreports.wgpolicyk8s.io", "reports.openreports.io"):
        for verb in ("get", "list", "watch", "patch", "update"):
            done = scanned.plane.kubectl("auth", "can-i", verb, resource, f"--as={account}", "-n", "tokenguard")
            assert done.stdout.strip() == "no"
