"""What kubectl makes of the kustomizations, for tests."""

import copy
import functools
import os
import re
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
MONITORING = "manifests/overlays/monitoring"
FILES = sorted(file for folder in ("manifests", "certs") for file in (CHECKOUT / folder).rglob("*.yaml"))
Object = dict[str, Any]
NEEDS_KUBECTL = "needs kubectl, to render what is in manifests/"


def load_all(text: str) -> list[Object]:
    """Return the objects in a text, by the parser in C: it takes a seventh of the time."""
    return list(yaml.load_all(text, yaml.CSafeLoader))


def find_kubectl() -> str | None:
    """Return the kubectl on the path, or the one of the control-plane tests, or None."""
    binaries = find_binaries()
    return shutil.which("kubectl") or (str(binaries / "kubectl") if binaries else None)


@functools.cache
def _objects(folder: str) -> list[Object]:
    kubectl = find_kubectl()
    if kubectl is None:
        pytest.skip(NEEDS_KUBECTL)
    done = subprocess.run([kubectl, "kustomize", folder], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_all(done.stdout)


def render(folder: str) -> list[Object]:
    """Return the objects that a kustomization makes, in their order; skip the test where there is no kubectl."""
    return copy.deepcopy(_objects(folder))


def render_text(folder: Path, kustomization: str) -> list[Object]:
    """Write a kustomization, in which the clone is `../tokenguard`, and return the objects that it makes."""
    kubectl = find_kubectl()
    if kubectl is None:
        pytest.skip(NEEDS_KUBECTL)
    clone = os.path.relpath(CHECKOUT, folder)
    folder.mkdir(exist_ok=True)
    (folder / "kustomization.yaml").write_text(re.sub(r"(\.\./)+tokenguard", clone, kustomization))
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_all(done.stdout)


def the(kind: str, objects: list[Object], name: str = "tokenguard") -> Object:
    """Return the one object of this kind and name."""
    [obj] = [obj for obj in objects if obj["kind"] == kind and obj["metadata"]["name"] == name]
    return obj


def environment_of(deployment: Object) -> dict[str, str]:
    """Return the environment of a Deployment's container, as the kubelet would set it."""
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    namespace = {"valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}}
    own = {"value": deployment["metadata"]["namespace"]}
    variables = ({**given, **own} if given.items() >= namespace.items() else given for given in container["env"])
    environment: dict[str, str] = {}
    for variable in variables:  # $(NAME) is a variable before it
        environment[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: environment[name[1]], variable["value"])
    return environment


def environment_of_process(deployment: Object) -> dict[str, str]:
    """Return the environment without what only a pod has: its port, and files in volumes that may be empty."""
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    empty = {
        name for name, volume in volumes.items() if "emptyDir" in volume or volume.get("configMap", {}).get("optional")
    }
    folders = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in empty}
    ports = {str(port["containerPort"]) for port in container["ports"]}
    return {
        name: value
        for name, value in environment_of(deployment).items()
        if folders.isdisjoint(map(str, [Path(value), *Path(value).parents])) and value.rpartition(":")[2] not in ports
    }


def is_custom(obj: Object) -> bool:
    """Say whether an object is of a kind that cert-manager or the Prometheus Operator brings."""
    return obj["apiVersion"].startswith(("cert-manager.io/", "monitoring.coreos.com/"))


def shown_kustomization(page: str, base: str) -> str:
    """Return the kustomization over `base` that a page shows."""
    [text] = shown_kustomizations(page, f"resources: [../tokenguard/{base}]")
    return text


def shown_kustomizations(page: str, *lines: str) -> list[str]:
    """Return for each line the kustomization that contains it on a page."""
    blocks = re.findall(r"```yaml\n(.*?)```", (CHECKOUT / page).read_text(), re.DOTALL)
    return [block for line in lines for block in blocks if f"{line}\n" in block]
