"""A cluster is migrated by the commands of its checklist: `migrate` reads it as the account of manifests/scanner."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_command
from tests.control_plane.custom_kinds import definition
from tests.control_plane.live import account_kubeconfig, install
from tests.end_to_end.cluster import namespace_with, secret
from tests.manifests.rendering import render
from tests.migrate.workloads import workload
from tests.serving import eventually

NAMESPACE = "moving"
ENVIRONMENT_VALUE = "hunter2-in-the-environment"
VOLUMES = [
    {"name": "creds", "secret": {"secretName": "app-token", "defaultMode": 0o400}},
    {"name": "all", "projected": {"sources": [{"secret": {"name": "app-token"}}, {"configMap": {"name": "settings"}}]}},
]
CONTAINER = {
    "name": "main",
    "image": "app:1",
    "env": [
        {"name": "COLOUR", "value": ENVIRONMENT_VALUE},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "app-token", "key": "token"}}},
        {"name": "NS", "valueFrom": {"secretKeyRef": {"name": "app-token", "key": "namespace"}}},
    ],
    "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "SA_", "secretRef": {"name": "app-token"}}],
    "volumeMounts": [
        {"name": "creds", "mountPath": "/creds"},
        {"name": "all", "mountPath": "/all"},
        {"name": "creds", "mountPath": "/one/token", "subPath": "token"},
    ],
}
KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob", "Pod", "Rollout")
Object = dict[str, Any]


def using_legacy(kind: str) -> Object:
    """Return a workload that uses a legacy Secret in every way that a patch replaces."""
    restart = {"restartPolicy": "Never"} if kind == "CronJob" else {}
    pulls = {"imagePullSecrets": [{"name": "registry"}, {"name": "app-token"}]}
    spec = {"serviceAccountName": "app", "containers": [CONTAINER], "volumes": VOLUMES, **pulls, **restart}
    obj = workload(kind, f"a-{kind.lower()}", spec, NAMESPACE)
    if kind == "Deployment":
        obj["spec"]["strategy"] = {"type": "Recreate"}  # no pod becomes ready here
    return obj


@pytest.fixture(scope="module")
def plane(unguarded_plane):
    running = unguarded_plane
    install(running)
    running.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": render("manifests/scanner")})
    running.do("apply", "-f", "-", stdin=definition("argoproj.io", "Rollout", ("v1alpha1",)))
    running.create(*namespace_with(NAMESPACE, "app", "robot"), secret("app-token", NAMESPACE, "app"))
    running.create(secret("robot-token", NAMESPACE, "robot"))
    for kind in KINDS:
        made = json.dumps(using_legacy(kind))
        eventually(lambda made=made: running.kubectl("apply", "-f", "-", stdin=json.loads(made)).returncode == 0)
    listed = {"secrets": [{"name": "app-token"}, {"name": "other"}], "imagePullSecrets": [{"name": "app-token"}]}
    running.do("patch", "serviceaccount", "app", "-n", NAMESPACE, "--type=merge", "-p", json.dumps(listed))
    return running


def migrate(plane, folder: Path):
    kubeconfig = account_kubeconfig(plane, folder, account="tokenguard-scanner")
    return run_command(
        "migrate", "--kubeconfig", str(kubeconfig), "-n", NAMESPACE, "--output-dir", str(folder / "migration")
    )


def blocks(checklist: str) -> list[str]:
    """Return the shell commands of the sections about workloads and accounts, without those that wait for pods."""
    sections = checklist.partition("\n## Uses that no workload shows")[0]
    blocks = re.findall(r"```sh\n(.*?)```", sections, re.DOTALL)
    return ["\n".join(line for line in block.splitlines() if " rollout status " not in line) for block in blocks]


def run_shell(plane, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(plane.program).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "KUBECONFIG": str(plane.folder / "kubeconfig"), "PATH": path}
    return subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_checklist_commands_migrate_every_kind_of_workload(plane, tmp_path) -> None:
    done = migrate(plane, tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    folder = tmp_path / "migration" / NAMESPACE
    texts = {file.name: file.read_text() for file in folder.iterdir()}
    assert {"kustomization.yaml", "README.md", "serviceaccount-app.yaml"} < set(texts)
    assert len(texts) == len(KINDS) + 3
    assert not any(ENVIRONMENT_VALUE in text for text in texts.values())
    commands = blocks(texts["README.md"])
    verify = [command for command in commands if "jsonpath" in command]
    assert len(verify) == len(KINDS)
    assert {run_shell(plane, folder, command).stdout.splitlines()[0] for command in verify} == {"app-token"}
    for command in commands:
        if command not in verify:
            applied = run_shell(plane, folder, command)
            assert (applied.returncode, applied.stderr) == (0, ""), command
    outputs = [run_shell(plane, folder, command) for command in verify]
    assert [(output.stdout, output.stderr) for output in outputs] == [("", "")] * len(KINDS)
    unchanged = plane.do("get", "deployment", "a-deployment", "-n", NAMESPACE, "-o", "json")
    template = json.loads(unchanged)["spec"]["template"]["spec"]
    assert template["imagePullSecrets"] == [{"name": "registry"}]
    environment = template["containers"][0]["env"]
    assert {"name": "COLOUR", "value": ENVIRONMENT_VALUE} in environment
    account = json.loads(plane.do("get", "serviceaccount", "app", "-n", NAMESPACE, "-o", "json"))
    assert (account["secrets"], account.get("imagePullSecrets")) == ([{"name": "other"}], None)
    assert migrate(plane, tmp_path).returncode == 1
    assert "Replace the running pods" in (folder / "README.md").read_text()
    plane.do("delete", "pods", "-n", NAMESPACE, "-l", "app")  # of a StatefulSet only ready ones are replaced
    eventually(lambda: migrate(plane, tmp_path).returncode == 0)
    assert [file.name for file in folder.iterdir()] == ["README.md"]
