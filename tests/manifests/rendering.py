"""What kubectl makes of the kustomizations, for tests."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.control_plane.plane import find_binaries

CHECKOUT = Path(__file__).parent.parent.parent
INSTALLATIONS = ("manifests", "manifests/overlays/cert-manager", "manifests/overlays/by-hand")
UNINSTALL = "manifests/uninstall"
FILES = sorted(file for folder in ("manifests", "certs") for file in (CHECKOUT / folder).rglob("*.yaml"))
Object = dict[str, Any]


def find_kubectl() -> str | None:
    """Return the kubectl on the path, or the one of the control-plane tests, or None."""
    binaries = find_binaries()
    return shutil.which("kubectl") or (str(binaries / "kubectl") if binaries else None)


@functools.cache
def _text(folder: str) -> str:
    kubectl = find_kubectl()
    if kubectl is None:
        pytest.skip("needs kubectl, to render what is in manifests/")
    done = subprocess.run([kubectl, "kustomize", folder], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(folder: str) -> list[Object]:
    """Return the objects that a kustomization makes, in their order; skip the test where there is no kubectl."""
    return list(yaml.safe_load_all(_text(folder)))


def the(kind: str, objects: list[Object], name: str = "tokenguard") -> Object:
    """Return the one object of this kind and name."""
    [found] = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def is_custom(one: Object) -> bool:
    """Say whether an object is cert-manager's, which an API server knows only where that is installed."""
    return one["apiVersion"].startswith("cert-manager.io/")
