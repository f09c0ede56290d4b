"""What the pages say, done as an operator does: in a folder with a kubeconfig, the clone and `mine`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.commands import run_command
from tests.documented import CHECKOUT, PAGES
from tests.end_to_end.cluster import POLICY, Cluster, Object
from tests.manifests.rendering import shown_kustomization, shown_kustomizations

INSTALL = "kubectl rollout status -n tokenguard deployment/tokenguard"
MOVE = "kubectl create namespace security"
UNINSTALL = "kubectl delete -k tokenguard/manifests/uninstall "
TIMEOUT = 300


def shown_commands(command: str, page: str = "docs/install.md") -> list[str]:
    """Return the commands with kubectl of the block on the page in which one command begins like this."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)
    [block] = [block for block in blocks if f"$ {command}" in block]
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ kubectl ")]


def run_commands(cluster: Cluster, commands: list[str]) -> None:
    """Run commands by bash; each must succeed."""
    path = f"{Path(cluster.program).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"KUBECONFIG": str(cluster.folder / "kubeconfig"), "PATH": path}
    for command in commands:
        done = subprocess.run(
            command, shell=True, executable="/bin/bash", cwd=cluster.folder, env=environment, capture_output=True,
            text=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"


def status(
    cluster: Cluster, *flags: str, kubeconfig: Path | None = None
) -> tuple[dict[str, Object], list[dict[str, str]]]:
    """Return the rows of `tokenguard status` by name, and all problems that are no notes."""
    where = ("--kubeconfig", str(kubeconfig or cluster.folder / "kubeconfig"))
    done = run_command("status", "-o", "json", *where, *flags)
    report = json.loads(done.stdout)
    assert report["protected"] is (done.returncode == 0)
    assert done.returncode in (0, 1) or all(row["state"] == "unknown" for row in report["rows"]), done.stderr
    rows = {row["name"]: row for row in report["rows"]}
    return rows, [problem for row in rows.values() for problem in row["problems"] if not problem["note"]]


def write_kustomization(
    cluster: Cluster,
    image: str = "tokenguard:0.1.0",
    namespace: str = "tokenguard",
    base: str = "manifests",
    components: Sequence[str] = (),
) -> None:
    """Write `mine` as the page has it, for another image and namespace, with the policy of the cases.

    `base` is another installation than `manifests`, and `components` are added to it.
    """
    name, tag, digest = image_parts(image)
    kustomization = yaml.safe_load(shown_kustomization("docs/install.md", "manifests"))
    kustomization["resources"] = [f"../tokenguard/{base}"]
    kustomization["components"] += [f"../tokenguard/manifests/components/{component}" for component in components]
    kustomization["images"] = [
        {"name": "tokenguard", "newName": name, **({"digest": digest} if digest else {"newTag": tag})}
    ]
    mine, clone = cluster.folder / "mine", cluster.folder / "tokenguard"
    folder = mine
    mine.mkdir(exist_ok=True)
    if not clone.exists():
        clone.symlink_to(CHECKOUT)
    if namespace != "tokenguard":
        [around] = shown_kustomizations("docs/install.md", "resources: [security]")
        (mine / "kustomization.yaml").write_text(around)
        del kustomization["components"]
        kustomization |= {"namespace": namespace, "resources": [f"../../tokenguard/{base}"]}
        folder = mine / "security"
        folder.mkdir(exist_ok=True)
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


def image_parts(image: str) -> tuple[str, str, str]:
    """Return the name, tag and digest of an image; tag or digest is empty."""
    name, _, version = image.rpartition("@" if "@" in image else ":")
    return (name, "", version) if "@" in image else (name, version, "")


def exchange_namespaces(command: str) -> str:
    """Return a command of the move with the namespaces `tokenguard` and `security` exchanged."""
    other = {"tokenguard": "security", "security": "tokenguard"}
    return re.sub(r"(-n |namespace:? )(tokenguard|security)\b", lambda match: match[1] + other[match[2]], command)
