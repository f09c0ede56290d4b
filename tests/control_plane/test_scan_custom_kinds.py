"""Scans of custom kinds that create pods, as the account that manifests/scanner makes."""

import json

import pytest

from tests.commands import run_command
from tests.control_plane.custom_kinds import definition
from tests.control_plane.live import account_kubeconfig, install
from tests.end_to_end.cluster import namespace_with, secret
from tests.manifests.rendering import render
from tests.serving import eventually

POLICY = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
workloads: [{apiGroup: example.com, kind: Runner, template: /spec/template}]
"""


def custom(version: str, kind: str, name: str) -> dict:
    containers = [{"name": "app", "image": "x", "envFrom": [{"secretRef": {"name": "old"}}]}]
    spec = {"template": {"spec": {"containers": containers}}}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "custom"}, "spec": spec}


@pytest.fixture(scope="module")
def plane(unguarded_plane):
    running = unguarded_plane
    install(running)
    running.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": render("manifests/scanner")})
    running.create(*namespace_with("custom"))
    if running.has_controllers:  # the token controller deletes a Secret whose account does not exist
        eventually(lambda: running.kubectl("get", "serviceaccount", "default", "-n", "custom").returncode == 0)
    running.create(secret("old", "custom", "default"))
    running.do("apply", "-f", "-", stdin=definition("argoproj.io", "Rollout", ("v1alpha1",)))
    running.do("apply", "-f", "-", stdin=definition("example.com", "Runner", ("v1", "v1beta1")))
    for version, kind in (("argoproj.io/v1alpha1", "Rollout"), ("example.com/v1", "Runner")):
        made = json.dumps(custom(version, kind, "web"))
        eventually(lambda made=made: running.kubectl("apply", "-f", "-", stdin=json.loads(made)).returncode == 0)
    return running


def scan(plane, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    kubeconfig = account_kubeconfig(plane, tmp_path, account="tokenguard-scanner")
    flags = ("--kubeconfig", str(kubeconfig), "-n", "custom", "--policy", str(tmp_path / "policy.yaml"))
    done = run_command("scan", *flags, "--output", "json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_custom_kinds_are_evaluated_with_the_needed_permission(plane, tmp_path) -> None:
    status, report = scan(plane, tmp_path)
    assert [(row["group"], row["kind"]) for row in report["workloads"]] == [("argoproj.io", "Rollout")]
    assert [resource["resource"] for resource in report["unread"] if resource["affectsDecisions"]] == [
        "runners.example.com in custom"
    ]
    plane.do("create", "clusterrole", "runners", "--verb=list", "--resource=runners.example.com")
    account = "--serviceaccount=tokenguard:tokenguard-scanner"
    plane.do("create", "clusterrolebinding", "runners", "--clusterrole=runners", account)
    status, report = scan(plane, tmp_path)
    outcomes = {row["kind"]: row["nextPod"]["evaluation"]["result"]["outcome"] for row in report["workloads"]}
    assert outcomes == {"Rollout": "denied", "Runner": "denied"}
    assert (status, [resource["resource"] for resource in report["unread"] if resource["affectsDecisions"]]) == (1, [])
