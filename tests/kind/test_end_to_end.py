"""The end-to-end cases in a kind cluster: with a kubelet, the image and tokenguard's own pods. See `make kind`."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.cases import *  # noqa: F403 - every case is a test of this module
from tests.end_to_end.cluster import Cluster, is_asked, pod, prepare, put_policy
from tests.manifests.rendering import CHECKOUT
from tests.serving import eventually

NAME = "tokenguard-test"
NEEDED = ("kind", "kubectl", "docker")
TEN_MINUTES = 600


def run(*command: str) -> None:
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=TEN_MINUTES)


def with_image(folder: Path, image: str) -> Path:
    """Return a kustomization that installs the image that was built, whatever it is called."""
    name, _, tag = image.rpartition(":")
    chosen = folder / "mine"
    chosen.mkdir()
    (chosen / "kustomization.yaml").write_text(json.dumps({
        "resources": [os.path.relpath(CHECKOUT / "manifests", chosen)],
        "images": [{"name": "tokenguard", "newName": name, "newTag": tag}],
    }))  # fmt: skip
    return chosen


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Return a cluster with tokenguard in it; it is deleted afterwards."""
    image = os.environ.get("TOKENGUARD_KIND_IMAGE")
    missing = [program for program in NEEDED if not shutil.which(program)]
    if missing or not image:
        pytest.skip(f"needs {', '.join(missing)}" if missing else "'make kind' builds the image and runs these")
    folder = tmp_path_factory.mktemp("kind")
    found = Cluster("kubectl", folder)
    try:
        run("kind", "create", "cluster", "--name", NAME, "--kubeconfig", str(folder / "kubeconfig"), "--wait", "3m")
        run("kind", "load", "docker-image", image, "--name", NAME)
        prepare(found)
        found.do("apply", "-k", str(with_image(folder, image)))
        put_policy(found)
        rollout = ("rollout", "status", "-n", "tokenguard", "deployment/tokenguard", "--timeout=50s")
        eventually(lambda: found.kubectl(*rollout).returncode == 0, patience=180)
        eventually(lambda: is_asked(found), patience=120)
        yield found
    finally:
        run("kind", "delete", "cluster", "--name", NAME)


def test_injected_token_is_in_a_running_pod(cluster) -> None:
    cluster.do("create", "-f", "-", stdin=pod("running"))
    cluster.do("wait", "pod/running", "-n", "shop", "--for=condition=Ready", "--timeout=50s")


def test_pods_after_uninstall_are_created_unchanged(cluster) -> None:
    cluster.do("delete", "-k", str(CHECKOUT / "manifests/uninstall"), "--ignore-not-found", "--wait=false")
    cluster.do("create", "-f", "-", stdin=pod("after"))
