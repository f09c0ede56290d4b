"""The backstop and the background scan of a cluster, by kubectl: changed, run and read."""

import json
import time

from tests.end_to_end.cluster import Object
from tests.end_to_end.running import RunningCluster
from webhook.scan.report_api import REPORT_APIS, ReportApi

ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def is_served(cluster: RunningCluster, api: ReportApi) -> bool:
    return cluster.ask("GET", api.list_paths[0])[0] == 200


def served(cluster: RunningCluster) -> list[ReportApi]:
    return [api for api in REPORT_APIS if is_served(cluster, api)]


def set_backstop(cluster: RunningCluster, mode: str) -> None:
    """Change the mode as docs/backstop.md says."""
    cluster.do("set", "env", "deployment/tokenguard", "-n", "tokenguard", f"TOKENGUARD_BACKSTOP={mode}")
    cluster.wait_for_rollout()


def exported(cluster: RunningCluster) -> set[str]:
    """Return the names of the exported policies."""
    answers = [cluster.ask("GET", f"{ADMISSION}/{kind}admissionpolicies") for kind in ("validating", "mutating")]
    return {
        item["metadata"]["name"]
        for status, answer in answers
        for item in (answer["items"] if status == 200 else ())
        if item["metadata"]["name"].startswith("tokenguard-")
    }


def scale(cluster: RunningCluster, replicas: int) -> None:
    cluster.do("scale", "deployment/tokenguard", "-n", "tokenguard", f"--replicas={replicas}")


def scan_now(cluster: RunningCluster, *flags: str) -> str:
    """Run the background scan as docs/scan.md says, and return what it printed."""
    name = f"scan-{time.monotonic_ns()}"
    job = ("create", "job", name, "-n", "tokenguard", "--from=cronjob/tokenguard-scan")
    manifest = json.loads(cluster.do(*job, "--dry-run=client", "-o", "json"))
    manifest["spec"]["template"]["spec"]["containers"][0]["args"] += flags
    cluster.create(manifest)
    cluster.do("wait", "-n", "tokenguard", "--for=condition=complete", f"job/{name}", "--timeout=55s")
    return cluster.do("logs", "-n", "tokenguard", f"job/{name}")


def reports(cluster: RunningCluster, api: ReportApi) -> dict[str, Object]:
    """Return tokenguard's reports by namespace; empty: the one of the cluster."""
    answers = [cluster.ask("GET", f"{path}?labelSelector=app.kubernetes.io/managed-by=tokenguard")[1]
             for path in api.list_paths]  # fmt: skip
    return {item["metadata"].get("namespace", ""): item for answer in answers for item in answer["items"]}


def slipped(cluster: RunningCluster, api: ReportApi) -> dict[str, Object]:
    """Return the results about pods in shop that were not evaluated, by the pod's name."""
    return {
        result["resources"][0]["name"]: result
        for result in reports(cluster, api)["shop"]["results"]
        if result.get("properties", {}).get("admission") == "not-evaluated"
    }


def deliver_files(cluster: RunningCluster) -> None:
    """Have the kubelet update the files of ConfigMaps now: it does so when a pod changes, else within two minutes."""
    for replica in cluster.replicas():
        cluster.do("annotate", "pod", replica, "-n", "tokenguard", "--overwrite", f"e2e/time={time.monotonic_ns()}")
