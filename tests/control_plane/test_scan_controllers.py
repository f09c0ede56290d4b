"""Scans of what Kubernetes' own controllers have made."""

import json

import pytest

from tests.commands import run_command
from tests.end_to_end.cluster import secret
from tests.serving import eventually

POLICY = "apiVersion: tokenguard/v1\nkind: TokenPolicy\nrules: {kubelet-hostpath: reject}\n"
BAD = [{"name": "host", "hostPath": {"path": "/var/lib/kubelet"}}]


def template(name, volumes, **more):
    containers = [{"name": "main", "image": "registry.k8s.io/pause:3.10"}]
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers, "volumes": volumes, **more}}


def workload(kind, name, volumes, **spec):
    selector = {"matchLabels": {"app": name}}
    whole = {"selector": selector, "template": template(name, volumes), **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": whole}


CRON = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "report", "namespace": "shop"},
    "spec": {
        "schedule": "0 3 1 1 *",
        "jobTemplate": {"spec": {"template": template("report", BAD, restartPolicy="Never")}},
    },
}
ROLLED = {"updateStrategy": {"type": "OnDelete"}}


@pytest.fixture(scope="module")
def plane(unguarded_plane):
    running = unguarded_plane
    if not running.has_controllers:
        pytest.skip("needs kube-controller-manager, which makes the pods")
    eventually(lambda: running.kubectl("get", "serviceaccount", "default", "-n", "shop").returncode == 0)
    running.do("create", "-f", "-", stdin=secret("old", "shop", "default"))
    for manifest in (
        workload("Deployment", "web", BAD, replicas=2),
        workload("StatefulSet", "db", BAD, serviceName="db", **ROLLED),
        workload("DaemonSet", "agent", BAD, **ROLLED),
        CRON,
    ):
        running.do("apply", "-f", "-", stdin=manifest)
    running.do("create", "job", "report-now", "--from=cronjob/report", "-n", "shop")
    eventually(lambda: len(pods(running)) == 5)
    return running


def pods(plane):
    return json.loads(plane.do("get", "pods", "-n", "shop", "-o", "json"))["items"]


def scan(plane, tmp_path):
    """Return the workloads of a scan: their numbers of pods with the outcomes, by kind and name."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    where = ("--kubeconfig", str(plane.folder / "kubeconfig"), "--policy", str(tmp_path / "policy.yaml"))
    done = run_command("scan", *where, "-n", "shop", "--output", "json")
    assert done.returncode in (0, 1), done.stderr
    return {
        f"{owner['kind']}/{owner['name']}": [
            (len(group["names"]), group["evaluation"]["result"]["outcome"]) for group in owner["pods"]
        ]
        for owner in json.loads(done.stdout)["workloads"]
    }


def test_pods_are_under_their_controllers_and_templates(plane, tmp_path) -> None:
    assert scan(plane, tmp_path) == {
        "CronJob/report": [(1, "denied")],
        "DaemonSet/agent": [(1, "denied")],
        "Deployment/web": [(2, "denied")],
        "StatefulSet/db": [(1, "denied")],
    }
    for kind, name, more in (("StatefulSet", "db", {"serviceName": "db"}), ("DaemonSet", "agent", {})):
        plane.do("apply", "-f", "-", stdin=workload(kind, name, [], **ROLLED, **more))
    eventually(lambda: plane.do("get", "controllerrevisions", "-n", "shop", "-o", "name").count("\n") == 4)
    old = {pod["metadata"]["name"]: pod["spec"]["volumes"][0]["name"] for pod in pods(plane)}
    assert set(old.values()) == {"host"}
    eventually(lambda: scan(plane, tmp_path) == {
        "CronJob/report": [(1, "denied")],
        "DaemonSet/agent": [(1, "patched")],
        "Deployment/web": [(2, "denied")],
        "StatefulSet/db": [(1, "patched")],
    })  # fmt: skip
