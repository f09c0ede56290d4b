"""What docs/install.md says, as an operator does it: in a folder with a kubeconfig, the clone, and `mine`."""

import os
import re
import subprocess
from pathlib import Path

import yaml

from tests.documented import CHECKOUT, PAGES
from tests.end_to_end.cluster import POLICY, Cluster
from tests.manifests.rendering import shown_kustomization, shown_kustomizations

INSTALL = "kubectl rollout status -n tokenguard deployment/tokenguard"
MOVE = "kubectl create namespace security"
UNINSTALL = "kubectl delete -k tokenguard/manifests/uninstall "
TIMEOUT = 300


def shown_commands(command: str) -> list[str]:
    """Return the commands with kubectl of the block on the page in which one command begins like this."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGES["docs/install.md"], re.DOTALL | re.MULTILINE)
    [block] = [block for block in blocks if f"$ {command}" in block]
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ kubectl ")]


def run_commands(cluster: Cluster, commands: list[str]) -> None:
    """Run commands by a shell; each must succeed."""
    path = f"{Path(cluster.program).parent}:{os.environ['PATH']}"
    environment = os.environ | {"KUBECONFIG": str(cluster.folder / "kubeconfig"), "PATH": path}
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=cluster.folder, env=environment, capture_output=True, text=True,
            timeout=TIMEOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"


def write_kustomization(cluster: Cluster, image: str = "tokenguard:0.1.0", namespace: str = "tokenguard") -> None:
    """Write `mine` as the page has it, for another image and namespace, with the policy of the cases."""
    name, tag, digest = image_parts(image)
    kustomization = yaml.safe_load(shown_kustomization("docs/install.md", "manifests"))
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
        kustomization |= {"namespace": namespace, "resources": ["../../tokenguard/manifests"]}
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
    return re.sub(r"(-n |namespace:? )(tokenguard|security)\b", lambda found: found[1] + other[found[2]], command)
