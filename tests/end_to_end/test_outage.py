"""Where availability comes first, every replica ends: what is enforced meanwhile, and what the next scan finds."""

import contextlib
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from tests.control_plane.pod_load import pods_created
from tests.control_plane.report_kinds import definitions
from tests.control_plane.scraping import run_prometheus
from tests.end_to_end.backstop import (
    ADMISSION,
    deliver_files,
    exported,
    is_served,
    reports,
    scale,
    scan_now,
    served,
    set_backstop,
    slipped,
)
from tests.end_to_end.cluster import namespace_with, pod, reads_legacy, refusal, secret, token_volume, tokens
from tests.end_to_end.operator import run_commands, shown_commands, status
from tests.end_to_end.programs import kill_container
from tests.end_to_end.running import MINUTES, metrics_path
from tests.manifests.rendering import MONITORING, render, the
from tests.serving import eventually
from webhook.scan.report_api import OPEN_REPORTS, REPORT_APIS, WG_POLICY

OVERLAY = "manifests/overlays/availability-first"
DAY = 86400
WEBHOOK_TIMEOUT = 2.0
SAMPLES = 30
REMOVE_SCAN = "kubectl delete clusterrole,clusterrolebinding tokenguard-scanner tokenguard-scan-reports "
REMOVE_BACKSTOP = "kubectl delete clusterrole,clusterrolebinding tokenguard-backstop "


@dataclass
class Outage:
    """What was seen while no replica ran: seconds that creations took, by namespace, and what pods got or were told."""

    mode: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    plain: dict = field(default_factory=dict)
    long: tuple[int, dict] = (0, {})
    secret: str = ""
    until_ready: float = 0.0
    until_enforced: float = 0.0

    @property
    def is_patched(self) -> bool:
        return self.mode == "vap+map"


@pytest.fixture(scope="module")
def available(cluster):
    """Install the overlay with the background scan; remove both by the commands of docs/install.md afterwards."""
    with contextlib.ExitStack() as stack:
        if not any(is_served(cluster, api) for api in REPORT_APIS):
            kinds = {"apiVersion": "v1", "kind": "List", "items": definitions(WG_POLICY)}
            cluster.do("apply", "-f", "-", stdin=kinds)
            stack.callback(cluster.do, "delete", "-f", "-", stdin=kinds)
            eventually(lambda: is_served(cluster, WG_POLICY))
        cluster.install(cluster.image, OVERLAY, ["background-scan"])
        yield cluster
        set_backstop(cluster, "off")
        eventually(lambda: exported(cluster) == set(), patience=MINUTES)
        cluster.install(cluster.image)
        run_commands(cluster, shown_commands("kubectl delete cronjob,configmap", "docs/scan.md"))
        run_commands(cluster, [*shown_commands(REMOVE_SCAN)[:1], *shown_commands(REMOVE_BACKSTOP)])
        for api in served(cluster):
            kinds = f"{api.kind.lower()}s.{api.group},{api.cluster_kind.lower()}s.{api.group}"
            cluster.do("delete", kinds, "-A", "-l", "app.kubernetes.io/managed-by=tokenguard")


def long_pod(name: str) -> dict:
    return pod(name, volumes=[token_volume(audience="https://api.example.com", expirationSeconds=DAY)])


def create_pod(cluster, manifest: dict, query: str = "") -> tuple[int, dict]:
    path = f"/api/v1/namespaces/{manifest['metadata']['namespace']}/pods{query}"
    status, answer = cluster.ask("POST", path, manifest)
    return status, answer


def create_in_turn(cluster, name: str) -> dict[str, list[float]]:
    """Create pods in kube-system, about which no webhook is called, and in shop; return the seconds that each took."""
    seconds: dict[str, list[float]] = {"kube-system": [], "shop": []}
    accounts = {"kube-system": "default", "shop": "app"}
    for number in range(SAMPLES):
        for namespace, account in accounts.items():
            manifest = pod(f"{name}-{number}", namespace, account, schedulerName="none")
            began = time.monotonic()
            status, answer = create_pod(cluster, manifest)
            seconds[namespace].append(time.monotonic() - began)
            assert status == 201, answer
    paths = [
        f"/api/v1/namespaces/{namespace}/pods/{name}-{number}" for namespace in accounts for number in range(SAMPLES)
    ]
    for path in paths:
        cluster.ask("DELETE", path, {"gracePeriodSeconds": 0})
    return seconds


def reader(name: str, image: str) -> dict:
    """Return a Deployment whose pod reads a legacy Secret."""
    labels = {"app": name}
    template = pod(name, container={"image": image, "command": ["python", "-c", "import time; time.sleep(3600)"],
                                    **reads_legacy()}, terminationGracePeriodSeconds=0)  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": template["spec"]}},
    }  # fmt: skip


@pytest.fixture(scope="module", params=["vap", "vap+map"])
def outage(request, available):
    """Scale to no replica with a backstop, create pods, scale up again; return what was seen."""
    cluster, seen = available, Outage(request.param)
    if seen.is_patched and cluster.ask("GET", f"{ADMISSION}/mutatingadmissionpolicies")[0] != 200:
        pytest.skip("needs MutatingAdmissionPolicies of admissionregistration.k8s.io/v1: Kubernetes 1.36")
    set_backstop(cluster, seen.mode)
    eventually(lambda: ("tokenguard-pods" in exported(cluster)) is seen.is_patched, patience=MINUTES)
    name = f"reader-{seen.mode.replace('+', '-')}"
    seen.seconds |= {f"{key}, before": value for key, value in create_in_turn(cluster, f"before-{name}").items()}
    with pods_created(cluster, f"load-{name}", evaluated=seen.is_patched) as loop:
        scale(cluster, 0)
        eventually(lambda: not cluster.items("pods", "-n", "tokenguard", "-l", "app.kubernetes.io/name=tokenguard"),
                   patience=2 * MINUTES)  # fmt: skip
        seen.seconds |= create_in_turn(cluster, f"during-{name}")
        seen.plain = create_pod(cluster, pod("outage-plain"), "?dryRun=All")[1]
        seen.long = create_pod(cluster, long_pod("outage-long"), "?dryRun=All")
        seen.secret = refusal(cluster, secret("new", "shop"))
        cluster.create(reader(name, cluster.image))
        cluster.do("rollout", "status", "-n", "shop", f"deployment/{name}", "--timeout=50s")
        began = time.monotonic()
        scale(cluster, 2)
        eventually(lambda: any(map(is_ready, cluster.pods())), patience=2 * MINUTES)
        seen.until_ready = time.monotonic() - began
        late = pod("outage-late", container=reads_legacy())
        eventually(lambda: create_pod(cluster, late, "?dryRun=All")[0] == 403, patience=MINUTES)
        seen.until_enforced = time.monotonic() - began
        cluster.wait_for_rollout()
        loop.more()
    seen.failures = loop.failures
    middle = {key: f"{statistics.median(values) * 1000:.1f} ms" for key, values in seen.seconds.items()}
    print(  # noqa: T201 - the result
        f"\n{seen.mode}: {len(loop.stored)} pods created, {len(loop.failures)} failed; medians of {SAMPLES}: {middle}; "
        f"a replica was ready {seen.until_ready:.1f} s after scaling up, and denied after {seen.until_enforced:.1f} s"
    )
    yield seen, name
    cluster.do("delete", "deployment", name, "-n", "shop", "--ignore-not-found")


@pytest.mark.covers("failure-modes: no replica with the backstop")
def test_outage_delays_and_fails_no_pod(outage) -> None:
    seen, _ = outage
    assert seen.failures == []
    assert statistics.median(seen.seconds["shop"]) < WEBHOOK_TIMEOUT, "no wait for webhooks that do not answer"


@pytest.mark.covers("failure-modes: no replica with the backstop")
def test_outage_denies_or_caps_what_the_export_expresses(outage) -> None:
    seen, _ = outage
    status, answer = seen.long
    lifetimes = {token["expirationSeconds"] for token in tokens(seen.plain["spec"]).values()}
    if seen.is_patched:
        assert status == 201, answer
        assert {token["expirationSeconds"] for token in tokens(answer["spec"]).values()} == {3600, 1800}
        assert lifetimes == {3600, 1800}, "the default token is capped, and the one of the policy injected"
    else:
        assert "ValidatingAdmissionPolicy 'tokenguard-token-expiration-deny'" in answer["message"]
        assert f"token-expiration: spec.volumes[0].projected.sources[0] has lifetime {DAY}s" in answer["message"]
        assert lifetimes == {3607}
    assert "legacy-token-secret: " in seen.secret or "failed calling webhook" in seen.secret


def test_every_slipped_pod_is_in_the_next_report(available, outage) -> None:
    cluster, (seen, name) = available, outage
    scan_now(cluster)
    results = slipped(cluster, served(cluster)[0])
    pods = {item["metadata"]["name"]: item["spec"] for item in cluster.items("pods", "-n", "shop")}
    [read] = [pod_name for pod_name in pods if pod_name.startswith(name)]
    uncapped = {
        pod_name
        for pod_name, spec in pods.items()
        if pod_name.startswith(f"load-{name}")
        and 3607 in [token["expirationSeconds"] for token in tokens(spec).values()]
    }
    assert bool(uncapped) is not seen.is_patched
    assert results.keys() >= uncapped | {read}
    assert results[read]["category"] == "Admitted without evaluation"
    assert results[read]["properties"]["owner"] == f"Deployment/{name}"
    assert results[read]["message"].endswith(
        f"What to do: first correct Deployment/{name}, whose next pod would be denied by legacy-token-reference; "
        f"then kubectl rollout restart deployment/{name} -n shop"
    )
    rows, problems = status(cluster)
    assert problems == []
    assert f"{len(results)} running pod" in rows["last scan"]["problems"][0]["text"]


def test_second_scan_writes_nothing(available) -> None:
    scan_now(available)
    before = reports(available, served(available)[0])
    assert scan_now(available).startswith("0 reports written, ")
    assert reports(available, served(available)[0]) == before


def test_report_of_a_namespace_without_results_is_deleted(available) -> None:
    cluster, api = available, served(available)[0]
    cluster.create(*namespace_with("security", "app"), pod("extra", "security"))
    try:
        assert scan_now(cluster).startswith("1 report written, ")
        assert "security" in reports(cluster, api)
        cluster.do("delete", "pod", "extra", "-n", "security", "--force")
        assert "1 deleted" in scan_now(cluster)
        assert "security" not in reports(cluster, api)
    finally:
        cluster.do("delete", "namespace", "security")


def test_reports_of_the_other_group_replace_the_first(available) -> None:
    cluster = available
    if len(served(cluster)) < 2:
        pytest.skip("needs the kinds of both groups of policy reports")
    scan_now(cluster)
    expected = {namespace: report["summary"] for namespace, report in reports(cluster, WG_POLICY).items()}
    assert "(openreports.io/v1alpha1)" in scan_now(cluster, "--report-api=openreports.io")
    assert {namespace: report["summary"] for namespace, report in reports(cluster, OPEN_REPORTS).items()} == expected
    assert reports(cluster, WG_POLICY) == {}
    scan_now(cluster)
    assert reports(cluster, OPEN_REPORTS) == {}
    assert reports(cluster, WG_POLICY).keys() == expected.keys()


def test_replicas_export_the_scan_and_its_alert_fires_when_old(available, tmp_path) -> None:
    cluster = available
    scan_now(cluster)
    count = sum(
        result.get("properties", {}).get("admission") == "not-evaluated"
        for report in reports(cluster, served(cluster)[0]).values()
        for result in report["results"]
    )
    [rule] = [rule for rule in alerts() if rule["alert"] == "TokenguardScanOld"]
    targets = {"targets": [cluster.proxy], "labels": {"namespace": "tokenguard"}}
    jobs = [
        {"job_name": replica, "metrics_path": metrics_path(replica), "static_configs": [targets]}
        for replica in cluster.replicas()
    ]
    configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    age = ("patch", "configmap", "tokenguard-scan", "-n", "tokenguard", "--type=merge", "-p")
    with run_prometheus(configuration, tmp_path) as running:
        exported_count = 'sum by (job) (tokenguard_scan_unevaluated_pods{admission="not-evaluated"})'

        def counts():
            deliver_files(cluster)
            return {sample["value"][1] for sample in running.query(exported_count)}

        eventually(lambda: counts() == {str(count)}, patience=2 * MINUTES)
        assert running.query(rule["expr"]) == []
        cluster.do(*age, '{"data": {"max-age-seconds": "1"}}')
        try:
            eventually(lambda: (deliver_files(cluster), running.query(rule["expr"]))[1], patience=2 * MINUTES)
        finally:
            cluster.do(*age, '{"data": {"max-age-seconds": "10800"}}')


def alerts() -> list[dict]:
    """Return the alerts of the manifests."""
    groups = the("PrometheusRule", render(MONITORING))["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.covers("failure-modes: no replica with the backstop")
@pytest.mark.covers("failure-modes: mutating webhook failed")
def test_killed_containers_of_all_replicas_open_no_gap(available) -> None:
    cluster, answers = available, []
    set_backstop(cluster, "vap")
    replicas = cluster.pods()
    with pods_created(cluster, "all-killed", evaluated=False) as loop, ThreadPoolExecutor(len(replicas)) as threads:
        killed = [threads.submit(kill_container, cluster, replica) for replica in replicas]
        while not all(future.done() for future in killed) or not all(map(is_restarted, cluster.pods())):
            answers.append(create_pod(cluster, long_pod("outage-long"), "?dryRun=All"))
        cluster.wait_for_rollout()
    assert [future.result() for future in killed] == [None] * len(replicas)
    assert loop.failures == []
    lifetimes = {token["expirationSeconds"] for status, answer in answers if status == 201
                 for token in tokens(answer["spec"]).values()}  # fmt: skip
    assert DAY not in lifetimes
    assert {status for status, _ in answers} <= {201, 403}


def is_restarted(replica) -> bool:
    [container] = replica["status"]["containerStatuses"]
    return container["restartCount"] > 0 and container["ready"]


def is_ready(replica) -> bool:
    return any(container["ready"] for container in replica["status"].get("containerStatuses", []))


def test_status_names_an_edited_policy_of_the_backstop(available) -> None:
    cluster, name = available, "tokenguard-token-expiration-deny"
    set_backstop(cluster, "vap")
    scale(cluster, 0)  # or it is restored within ten seconds
    try:
        eventually(lambda: not cluster.replicas(), patience=MINUTES)
        cluster.do(
            "patch", "validatingadmissionpolicy", name, "--type=merge", "-p", '{"spec": {"failurePolicy": "Ignore"}}'
        )
        rows, _ = status(cluster)
        [problem] = rows["backstop"]["problems"]
        assert f"{name} was edited" in problem["text"]
        run_commands(cluster, [problem["fix"]])
        rows, _ = status(cluster)
        assert (rows["backstop"]["state"], rows["replicas"]["state"]) == ("ok", "problem")
    finally:
        scale(cluster, 2)
        cluster.wait_for_rollout()
