"""What goes into the image; if a builder is named, that the image can be built and runs."""

import importlib.metadata
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dockerfile import steps
from tests.documented import CHECKOUT, PROJECT
from tests.kubeconfigs import write_kubeconfig

IMAGE = "tokenguard:test"
BUILDER = shlex.split(os.environ.get("BUILDER", ""))


def reaches_the_build(path: str) -> bool:
    """Say whether .dockerignore lets a file through: the last pattern that matches it or a folder above it decides."""
    through = True
    for line in (CHECKOUT / ".dockerignore").read_text().splitlines():
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if line and not line.startswith("#") and re.fullmatch(f"{pattern}(/.*)?", path):
            through = line.startswith("!")
    return through


@pytest.mark.parametrize(
    "source", [source for rest in steps("COPY") if "--from" not in rest for source in rest.split()[:-1]]
)
def test_copied_files_exist_and_are_in_the_build_context(source):
    inside = [path for path in (CHECKOUT / source).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files = [path.relative_to(CHECKOUT).as_posix() for path in inside or [CHECKOUT / source] if path.is_file()]
    assert files
    assert [name for name in files if not reaches_the_build(name)] == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/pip",
        ".env",
        "tests/test_image.py",
        "requirements/dev.txt",
        "webhook/__pycache__/cli.cpython-313.pyc",
        "webhook/core/rules/__pycache__/inject.cpython-313.pyc",
    ],
)
def test_other_files_are_not_in_the_build_context(path):
    assert not reaches_the_build(path)


@pytest.mark.covers("threat-model: replaced package")
def test_installed_packages_are_pinned_by_hash():
    calls = re.findall(r"/pip (?:--python \S+ )?(?:install|wheel)[^&;]*", " && ".join(steps("RUN")))
    assert len(calls) == 5
    assert [call for call in calls if not re.search("--require-hashes|--no-index", call)] == []


WITHOUT = """
import importlib, pkgutil, sys
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MODULES or name.startswith(CLIENT):
            raise ModuleNotFoundError(name)

_, MODULES, kubeconfig = sys.argv[0], sys.argv[1].split(","), Path(sys.argv[2])
CLIENT = ("kubernetes.aio", "kubernetes.client.api.", "kubernetes.client.models.")
sys.meta_path.insert(0, Missing())
import webhook
names = [module.name for module in pkgutil.walk_packages(webhook.__path__, "webhook.")]
for name in names:
    if name != "webhook.__main__":
        importlib.import_module(name)

from webhook.cluster.api_client import ApiClient
from webhook.cluster.transport import ApiError
try:
    ApiClient(kubeconfig, kubeconfig.parent).get("/version", {}, "application/json")
except ApiError as error:
    print(len(names), "modules:", error)
"""
"""Imports every module, and sends a request to the API server of a kubeconfig, without what the image does not have."""


def test_image_has_every_module_that_is_imported(tmp_path):
    removed = re.findall(r"^[a-z].*$", (CHECKOUT / "release/not-in-image.txt").read_text(), re.MULTILINE)
    locked = re.findall(r"^(\S+)==", (CHECKOUT / "requirements/run.txt").read_text(), re.MULTILINE)
    assert set(removed) <= set(locked)
    provided = importlib.metadata.packages_distributions().items()
    modules = [module for module, distributions in provided if set(distributions) <= set(removed)]
    assert len(modules) >= len(removed)
    unused = runpy.run_path(str(CHECKOUT / "release/image_root.py"))["UNUSED"]
    modules += unused & sys.stdlib_module_names
    kubeconfig = tmp_path / "kubeconfig"
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-c", PLUGIN]}
    write_kubeconfig(kubeconfig, 1, {"exec": plugin | {"interactiveMode": "Never"}})
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, ",".join(modules), kubeconfig],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert re.match(r"\d+ modules: .*refused", done.stdout), done.stdout + done.stderr


PLUGIN = """
print('{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}')
"""


def test_build_requirements_are_locked():
    build, development = ((CHECKOUT / "requirements" / name).read_text() for name in ("build.txt", "dev.txt"))
    locked = re.findall(r"^\S+==.*\n(?: +--hash=.*\n)+", build, re.MULTILINE)
    assert locked
    assert [package for package in locked if package not in development] == []


def test_default_base_image_is_pinned_with_a_supported_python():
    oldest, first_too_new = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    minor = re.fullmatch(r"BASE=python:3\.(\d+)\.\d+-slim-[a-z]+", steps("ARG")[0])[1]
    assert int(oldest) <= int(minor) < int(first_too_new)
    assert {rest.split()[0] for rest in steps("FROM")} == {"${BASE}", "scratch"}


def test_user_is_a_number_and_not_root():
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", steps("USER")[-1])


def test_image_has_the_labels_of_the_oci():
    settings = ["BUILDER=buildah", "SOURCE=https://example.com/tokenguard", "BASE=python@sha256:1"]
    command = ["make", "--no-print-directory", "-n", "image", *settings]
    build = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    labels = re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", " ".join([*steps("LABEL"), build]))
    assert sorted(labels) == sorted({
        "title", "description", "version", "revision", "created", "source", "url", "documentation", "base.name",
        "base.digest",
    })  # fmt: skip


def test_command_runs_without_a_shell():
    assert steps("ENTRYPOINT") == ['["tokenguard"]']
    assert "tokenguard" in PROJECT["scripts"]
    assert steps("CMD") == ['["serve"]']


@pytest.mark.skipif(not BUILDER, reason="nothing is named to build the image with: make test BUILDER=podman BASE=...")
def test_image_runs_the_demo_as_any_user():
    user = "1000710000:0"  # as OpenShift chooses it
    subprocess.run(["make", "image", f"IMAGE={IMAGE}"], cwd=CHECKOUT, check=True)
    try:
        if Path(BUILDER[0]).name == "buildah":
            container = podman("from", IMAGE).strip()
            demo = podman("run", "--user", user, container, "--", "tokenguard", "demo")
            podman("rm", container)
        else:
            demo = podman("run", "--rm", "--user", user, "--read-only", "--tmpfs", "/tmp", IMAGE, "demo")
        assert re.findall("^ +(PATCHED|DENIED)", demo, re.MULTILINE) == ["PATCHED", "DENIED", "PATCHED", "PATCHED"]
    finally:
        podman("rmi", "--force", IMAGE)


def podman(*arguments: str) -> str:
    """Return what the builder prints."""
    return subprocess.run([*BUILDER, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout
