"""What makes pods: its author is warned, once, and nothing is refused but the pods."""

import json

import pytest

from tests.end_to_end.cases.pods import API_TOKEN
from tests.end_to_end.cluster import acting, pod, reads_legacy, tokens, uid_of, warnings
from tests.serving import eventually

WORKLOADS = {
    "Deployment": ("apps/v1", {"replicas": 0}),
    "StatefulSet": ("apps/v1", {"replicas": 0, "serviceName": "x"}),
    "ReplicaSet": ("apps/v1", {"replicas": 0}),
    "DaemonSet": ("apps/v1", {}),
    "ReplicationController": ("v1", {"replicas": 0}),
    "Job": ("batch/v1", {"suspend": True}),
    "CronJob": ("batch/v1", {"suspend": True, "schedule": "0 0 1 1 *"}),
}
CONTROLLERS = ("system:kube-controller-manager", "system:serviceaccount:kube-system:deployment-controller")
READS = "spec.containers[0].env[0] reads the long-lived token in Secret"


def workload(kind, name, container, **meta):
    """Return a workload; a DaemonSet's pods fit no node."""
    version, spec = WORKLOADS[kind]
    labels = {"app": name}
    inner = {**pod(name, container=container)["spec"]}
    if kind == "DaemonSet":
        inner["nodeSelector"] = {"none": "such"}
    if version.startswith("batch"):
        inner["restartPolicy"] = "Never"
    template = {"metadata": {"labels": labels}, "spec": inner}
    if kind == "CronJob":
        spec = {**spec, "jobTemplate": {"spec": {"template": template}}}
    else:
        spec = {**spec, "template": template}
    if kind == "ReplicationController":
        spec["selector"] = labels
    elif version == "apps/v1":
        spec["selector"] = {"matchLabels": labels}
    metadata = {"name": name, "namespace": "shop", **meta}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("kind", WORKLOADS)
def test_workload_is_warned_about_on_create_and_update(cluster, kind) -> None:
    name = f"warned-of-{kind.lower()}"
    at = "spec.jobTemplate.spec.template" if kind == "CronJob" else "spec.template"
    expected = f"Warning: legacy-token-reference: {at}.{READS}"
    assert expected in warnings(cluster, workload(kind, name, reads_legacy()))
    changed = cluster.kubectl("annotate", kind.lower(), name, "-n", "shop", "reviewed=yes")
    assert (changed.returncode, expected in changed.stderr) == (0, True)
    applied = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
    again = cluster.kubectl(*applied, stdin=workload(kind, name, reads_legacy(), labels={"more": "yes"}))
    assert (again.returncode, expected in again.stderr) == (0, True)


def test_valid_workload_causes_no_warning(cluster) -> None:
    assert warnings(cluster, workload("Deployment", "sound", {})) == ""


@pytest.mark.parametrize("user", CONTROLLERS)
def test_workload_of_a_controller_causes_no_warning(cluster, user) -> None:
    made = workload("ReplicaSet", "made", reads_legacy())
    done = cluster.kubectl("create", "--dry-run=server", "-f", "-", *acting(user), stdin=made)
    assert (done.returncode, done.stderr) == (0, "")


def owned_by(cluster, kind: str, name: str) -> dict:
    """Return the metadata of what belongs to a workload of this kind."""
    version, _ = WORKLOADS[kind]
    uid = uid_of(cluster, kind.lower(), name, "shop")
    owner = {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True}
    return {"ownerReferences": [owner]}


@pytest.mark.parametrize(
    ("owner", "kind", "warned"),
    [("Deployment", "ReplicaSet", False), ("CronJob", "Job", False), ("ConfigMap", "ReplicaSet", True)],
    ids=["a Deployment's", "a CronJob's", "a stranger's"],
)
def test_owned_object_is_not_warned_about_again(cluster, owner, kind, warned) -> None:
    name = f"owner-of-{kind.lower()}"
    if owner == "ConfigMap":
        uid = uid_of(cluster, "configmap", "kube-root-ca.crt", "shop") if cluster.has_controllers else "made-up"
        meta = {"ownerReferences": [
            {"apiVersion": "v1", "kind": owner, "name": "kube-root-ca.crt", "uid": uid, "controller": True}
        ]}  # fmt: skip
    else:
        assert "Warning: " in warnings(cluster, workload(owner, name, reads_legacy()))
        meta = owned_by(cluster, owner, name)
    done = cluster.kubectl(
        "create", "--dry-run=server", "-f", "-", stdin=workload(kind, "owned", reads_legacy(), **meta)
    )
    assert (done.returncode, "Warning: " in done.stderr) == (0, warned)


def test_job_created_from_a_cron_job_belongs_to_it(cluster) -> None:
    assert "Warning: " in warnings(cluster, workload("CronJob", "nightly", reads_legacy()))
    done = cluster.kubectl("create", "job", "tonight", "-n", "shop", "--from=cronjob/nightly", "--dry-run=server")
    assert (done.returncode, done.stderr) == (0, "")


def scaled(manifest, replicas):
    manifest["spec"]["replicas"] = replicas
    return manifest


def test_denied_pod_is_reported_at_its_controller(cluster) -> None:
    if not cluster.has_controllers:
        pytest.skip("needs kube-controller-manager")
    warnings(cluster, scaled(workload("Deployment", "refused", reads_legacy()), 1))
    said = ("get", "events", "-n", "shop", "--field-selector=involvedObject.kind=ReplicaSet,reason=FailedCreate")
    eventually(lambda: f"legacy-token-reference: {READS}" in cluster.do(*said))


def test_pods_of_a_controller_are_evaluated_and_patched(cluster) -> None:
    if not cluster.has_controllers:
        pytest.skip("needs kube-controller-manager")
    cluster.do("create", "-f", "-", stdin=scaled(workload("Deployment", "patched", {}), 1))
    said = ("get", "pods", "-n", "shop", "-l", "app=patched", "-o", "json")
    [made] = eventually(lambda: json.loads(cluster.do(*said))["items"])
    assert tokens(made["spec"])["kube-api-access"] == API_TOKEN
    assert "tokenguard-vault" in tokens(made["spec"])


def events(cluster, name, namespace):
    items = json.loads(cluster.do("get", "events", "-n", namespace, "-o", "json"))["items"]
    return [
        event
        for event in items
        if event["source"].get("component") == "tokenguard" and event["involvedObject"]["name"] == name
    ]


def test_controller_of_denied_pods_gets_an_event(cluster) -> None:
    if not cluster.has_controllers:
        pytest.skip("needs kube-controller-manager")
    manifest = workload("ReplicaSet", "notified", reads_legacy("app-token"), namespace="shop")
    manifest["spec"]["replicas"] = 1
    cluster.kubectl("create", "-f", "-", stdin=manifest)
    [event] = eventually(lambda: events(cluster, "notified", "shop"))
    assert (event["type"], event["reason"]) == ("Warning", "PodRejected")
    assert event["message"].startswith(f'legacy-token-reference: {READS} "app-token"')
    assert "[tokenguard " in event["message"]
    described = cluster.do("describe", "replicaset", "notified", "-n", "shop")
    assert "PodRejected" in described
    cluster.do("delete", "replicaset", "notified", "-n", "shop")


def test_exempted_pod_creates_an_event_and_a_dry_run_none(cluster) -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "nightly", "uid": "2", "controller": True}
    manifest = pod("notified-exempt", "shop", "jenkins", container=reads_legacy("jenkins-token"))
    manifest["metadata"]["ownerReferences"] = [owner]
    cluster.do("create", "--dry-run=server", "-f", "-", stdin=manifest)
    owner["name"] = "weekly"
    cluster.do("create", "-f", "-", stdin=manifest)
    [event] = eventually(lambda: events(cluster, "weekly", "shop"))
    assert (event["type"], event["reason"]) == ("Normal", "PodExempted")
    assert "a pod is exempt from legacy-token-reference: cannot reload a token yet (until never)" in event["message"]
    assert events(cluster, "nightly", "shop") == []
