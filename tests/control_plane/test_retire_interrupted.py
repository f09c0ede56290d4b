"""Each command that retires tokens is interrupted before each of its writes, and run again, on a real API server."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_command
from tests.end_to_end.cluster import INVALID_SINCE, LEGACY, namespace_with, secret
from tests.interruptions import How, interrupt_at_each_write
from tests.serving import eventually
from webhook.scan.api_types import LAST_USED

NAMESPACE = "interrupted"
NAMES = ("one", "three", "two")
WAVE = ("disable", "-n", NAMESPACE, "--unused-days", "0", "--max", "2", "--reason", "wave 1", "--yes")
"""Two of the three Secrets."""
WRITES = {"disable": 5, "restore": 7, "delete": 8}
"""The least number of writes: the request for the own name, then for each of two Secrets a change, an Event, a file."""


class Secrets:
    """The Secrets of a namespace, and the folder with the manifests of those that are deleted."""

    def __init__(self, plane, folder: Path) -> None:
        self.plane = plane
        self.folder = folder
        self.kubeconfig = str(plane.folder / "kubeconfig")

    def legacy(self, *arguments: str) -> str:
        done = run_command("legacy", *self.with_kubeconfig(*arguments))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def with_kubeconfig(self, *arguments: str) -> tuple[str, ...]:
        return (*arguments, "--kubeconfig", self.kubeconfig)

    def items(self) -> list[dict[str, Any]]:
        _, answer = self.plane.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")
        return [item for item in answer["items"] if item["type"] == LEGACY]

    def create(self) -> None:
        """Create new Secrets in place of those there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for path in ("secrets", "events"):
            self.plane.ask("DELETE", f"/api/v1/namespaces/{NAMESPACE}/{path}")
        for name in NAMES:
            status, _ = self.plane.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret(name, NAMESPACE))
            assert status == 201
        eventually(lambda: all("token" in item.get("data", {}) for item in self.items()))

    def disable(self) -> None:
        self.create()
        self.legacy(*WAVE)

    def have_used(self) -> None:
        """Have disabled Secrets, whose tokens are used."""
        self.disable()
        self.plane.do("label", "secrets", "--all", "-n", NAMESPACE, f"{LAST_USED}=2099-01-01")

    def state(self) -> Any:
        """Return what a command leaves behind, without what differs from run to run."""
        secrets = {}
        for item in self.items():
            metadata = item["metadata"]
            annotations = {
                key: value for key, value in metadata["annotations"].items() if key != "tokenguard/disabled-at"
            }
            annotations.pop("kubernetes.io/service-account.uid")
            managers = {entry["manager"] for entry in metadata["managedFields"]}
            secrets[metadata["name"]] = annotations, metadata.get("labels"), managers
        _, events = self.plane.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/events")
        reasons = sorted((event["involvedObject"]["name"], event["reason"]) for event in events["items"])
        files = sorted(file.name.partition(".")[0] + file.suffix for file in self.folder.rglob("*") if file.is_file())
        return secrets, reasons, files


COMMANDS = {
    "disable": (Secrets.create, WAVE),
    "restore": (Secrets.have_used, ("restore", "-n", NAMESPACE, "--still-used", "--yes")),
    "delete": (Secrets.disable, ("delete", "-n", NAMESPACE, "--after-days", "0", "--yes")),
}


@pytest.fixture
def secrets(unguarded_plane, tmp_path):
    if unguarded_plane.kubectl("get", "namespace", NAMESPACE).returncode:
        unguarded_plane.create(*namespace_with(NAMESPACE, "app"))
    return Secrets(unguarded_plane, tmp_path / "kept")


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.covers("failure-modes: retiring interrupted")
def test_command_that_was_interrupted_finishes_when_run_again(secrets: Secrets, name: str, how: How) -> None:
    prepare, arguments = COMMANDS[name]
    arguments += ("--keep", str(secrets.folder)) if name == "delete" else ()
    prepare(secrets)
    secrets.legacy(*arguments)
    expected = secrets.state()
    assert INVALID_SINCE in str(expected) or name != "disable"
    command = ("legacy", *secrets.with_kubeconfig(*arguments))
    number = 0
    for number in interrupt_at_each_write(secrets.folder, how, command, lambda: prepare(secrets), complete=0):
        secrets.legacy(*arguments)
        assert secrets.state() == expected, number
    assert number >= WRITES[name]
    assert secrets.state() == expected
    secrets.legacy(*arguments)  # as if it was interrupted after its last write
    assert secrets.state() == expected
