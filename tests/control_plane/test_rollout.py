"""docs/rollout.md walked from its first step to its last, by its own policies and commands, on a real API server."""

import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.control_plane.installed import Installation, installed
from tests.control_plane.plane import own_plane
from tests.end_to_end.cluster import namespace_with, pod, put_policy, reads_legacy, secret, tokens
from tests.manifests.rendering import CHECKOUT
from tests.serving import eventually

SECTIONS = (CHECKOUT / "docs/rollout.md").read_text().split("\n## ")
VALIDATE_AND_APPLY = "tokenguard policy validate mine/policy.yaml && kubectl apply -k mine"
READS_POD_LOGS = "kubectl logs -n tokenguard -l app.kubernetes.io/name=tokenguard"
NEWLY_EXEMPT = r"""workloads: newly allowed if recreated \(before: warned\)
  ReplicaSet/jenkins-1 in team-a .*
    \+ exempt: legacy-token-reference: spec\.containers\[0\]\S* .* \(exemption until 2027-03-31: Jenkins .*\)"""
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True}


def step(number: int) -> str:
    [section] = [section for section in SECTIONS if section.startswith(f"{number}. ")]
    return section


def yaml_in(number: int) -> str:
    """Return the policy, or the part of one, that a step shows."""
    return re.search(r"```yaml\n(.*?)```", step(number), re.DOTALL)[1]


def commands_in(number: int) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", step(number), re.DOTALL)
    return [re.sub(r" +# .*", "", line[2:]) for block in blocks for line in block.splitlines()]


@dataclass
class Walk:
    """An operator's folder, the cluster, and what runs in the place of tokenguard's pods."""

    folder: Path
    installation: Installation

    @property
    def plane(self):
        return self.installation.plane

    def write(self, name: str, document: str) -> None:
        (self.folder / "mine" / name).write_text(document)

    def run(self, number: int, skipped: int = 0) -> dict[str, "subprocess.CompletedProcess[str]"]:
        """Do what a step says, as it stands there, and return what came of each command."""
        return {command: self.do(command) for command in commands_in(number)[skipped:]}

    def do(self, command: str) -> "subprocess.CompletedProcess[str]":
        if command == VALIDATE_AND_APPLY:
            put_policy(self.plane, (self.folder / "mine/policy.yaml").read_text())
            command = command.partition(" && ")[0]
        (self.folder / "pods.log").write_text(self.logs)
        for number, server in enumerate(self.installation.replicas):  # what the loop over pods writes
            lines = (json.dumps(line) + "\n" for line in server.audit)
            (self.folder / f"tokenguard-{number}.log").write_text("".join(lines))
        command = re.sub(rf"{re.escape(READS_POD_LOGS)} \S+", "cat pods.log", command)
        programs = f"{Path(sys.executable).parent}:{self.plane.binaries}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOKENGUARD_")} | {
            "PATH": f"{programs}:{os.environ['PATH']}", "KUBECONFIG": str(self.plane.folder / "kubeconfig"),
        }  # fmt: skip
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in {0, 1}, (command, done.stderr)
        assert "Error" not in done.stderr, (command, done.stderr)
        return done

    @property
    def logs(self) -> str:
        return "".join(json.dumps(line) + "\n" for server in self.installation.replicas for line in server.audit)

    def create(self, name: str, account: str = "app", namespace: str = "team-a"):
        manifest = pod(name, namespace, account, container=reads_legacy(f"{account}-token"))
        manifest["metadata"]["ownerReferences"] = [OWNER | {"name": f"{account}-1", "uid": account}]
        return self.plane.kubectl("create", "-o", "json", "-f", "-", stdin=manifest)

    def policy_of(self, goal: str) -> str:
        """Return the policy that the first command of step 4 makes of the goal."""
        self.write("goal.yaml", goal)
        self.do(commands_in(4)[0])
        return (self.folder / "mine/policy.yaml").read_text()

    def put_in_force(self, mode: str) -> None:
        """Wait until a policy that was written is in force in team-a, whose mode it sets."""
        probe = pod("probe", "team-a", container=reads_legacy("app-token"))
        expected = {"warn": "Warning: ", "enforce": "denied the request", "audit": '"expirationSeconds": 3607'}[mode]
        command = ["create", "--dry-run=server", "-o", "json", "-f", "-"]
        eventually(lambda: expected in "{0.stderr}{0.stdout}".format(self.plane.kubectl(*command, stdin=probe)))


@pytest.fixture(scope="module")
def rollout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rollout")
    for name in ("plane", "mine"):
        (folder / name).mkdir()
    (folder / "tokenguard").symlink_to(CHECKOUT)
    with own_plane(folder / "plane") as plane:
        plane.do("create", "serviceaccount", "default", "-n", "default")
        accounts = ("default", "app", "jenkins")
        for namespace in ("team-a", "team-b", "team-z"):
            legacy = (secret(f"{account}-token", namespace, account) for account in accounts)
            plane.create(*namespace_with(namespace, *accounts), *legacy)
        with installed(plane, folder / "replicas", replicas=1) as installation:
            yield Walk(folder, installation)


def test_from_audit_to_enforce_everywhere(rollout) -> None:
    # 1: nothing is changed, rejected or warned of
    audit = yaml_in(1)
    put_policy(rollout.plane, audit)
    rollout.put_in_force("audit")
    created = [rollout.create(name) for name in ("before", "unchanged", "unwarned")]
    assert [lifetimes(done) for done in created] == [[3607]] * 3
    assert not any("Warning" in done.stderr for done in created)

    # 2: what there is, under the goal
    goal = yaml_in(2)
    rollout.write("goal.yaml", goal)
    summary, _, rejected = rollout.run(2).values()
    assert (summary.returncode, rejected.returncode) == (1, 1)
    assert re.search(r"\nworkloads(\n  .*)*\n  ReplicaSet/app-1 in \S+ \(3 pods\)", rejected.stdout)
    assert (rollout.folder / "scan.html").read_text().startswith("<!DOCTYPE html>")

    # 3: the API server's own log, as it is and packed
    (rollout.folder / "audit.log").write_text(rollout.plane.audit)
    with gzip.open(rollout.folder / "audit-1.log.gz", "wt") as packed:
        packed.write(rollout.plane.audit)
    rollout.run(3)

    # 4: one namespace is warned
    policy = rollout.policy_of(f"{goal}{yaml_in(3)}")
    rollout.write("policy.yaml", f"{policy}{yaml_in(4)}")
    rollout.plane.do("create", "deployment", "shop", "-n", "team-a", "--image=app")
    simulated, validated, *_, summarized, requests = rollout.run(4, skipped=1).values()
    assert "warned if recreated" in simulated.stdout
    assert "newly denied" not in simulated.stdout
    assert validated.stdout.startswith("valid (revision ")
    assert ("legacy-token-reference" in summarized.stdout, '"token-request-' in requests.stdout) == (True, True)
    rollout.put_in_force("warn")
    assert "Warning: legacy-token-reference: " in rollout.create("warned").stderr

    # 5: an exemption, which holds something
    rollout.write("policy.yaml", f"{policy}{yaml_in(4)}{yaml_in(5)}")
    put_policy(rollout.plane, f"{policy}{yaml_in(4)}")
    assert rollout.create("exempted", "jenkins").returncode == 0
    [simulated] = rollout.run(5).values()
    assert re.search(NEWLY_EXEMPT, simulated.stdout)
    assert (
        "for jenkins in team-a: in use, covers 1 workload (1 pod); until 2027-03-31; reason: Jenkins"
        in simulated.stdout
    )

    # 6: enforced there: the exempt one passes, the others don't, and their owner gets an Event
    rollout.write("policy.yaml", f"{policy}{yaml_in(6)}{yaml_in(5)}")
    simulated, _, events = rollout.run(6).values()
    assert ("newly denied" in simulated.stdout, events.returncode) == (True, 0)
    rollout.put_in_force("enforce")
    assert "legacy-token-reference: " in rollout.create("refused").stderr
    assert rollout.create("still-exempt", "jenkins").returncode == 0
    shown = commands_in(6)[-1]
    eventually(lambda: "PodRejected" in rollout.do(shown).stdout)
    assert rollout.create("elsewhere", namespace="team-b").returncode == 0

    # 7: everywhere, but for who is still warned; and the API server token is capped
    rollout.write("policy.yaml", yaml_in(7))
    rollout.run(7)
    eventually(lambda: "legacy-token-reference: " in rollout.create("refused-too", namespace="team-b").stderr)
    assert "Warning: legacy-token-reference: " in rollout.create("late", namespace="team-z").stderr
    assert lifetimes(rollout.plane.kubectl("create", "-o", "json", "-f", "-", stdin=pod("capped", "team-b"))) == [3600]
    assert (rollout.folder / "stricter.html").stat().st_size > 10_000

    # and back within a second
    put_policy(rollout.plane, audit)
    eventually(lambda: rollout.create("as-before", namespace="team-b").returncode == 0)


def lifetimes(done) -> list[int]:
    return [token["expirationSeconds"] for token in tokens(json.loads(done.stdout)["spec"]).values()]
