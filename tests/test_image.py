"""What goes into the image, told by the files it is built from; where it can be built, that it runs, too."""

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.dockerfile import steps

CHECKOUT = Path(__file__).parent.parent
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
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
    calls = re.findall(r"/pip [^&;]*", " && ".join(steps("RUN")))
    assert len(calls) == 5
    assert [call for call in calls if not re.search("--require-hashes|--no-index", call)] == []


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


def test_command_runs_without_a_shell():
    assert steps("ENTRYPOINT") == [f'["{name}"]' for name in PROJECT["scripts"]]
    assert steps("CMD") == ['["serve"]']


@pytest.mark.skipif(not BUILDER, reason="nothing is named to build the image with: make test BUILDER=podman BASE=...")
def test_image_can_be_built_and_runs_the_demo():
    subprocess.run(["make", "image", f"IMAGE={IMAGE}"], cwd=CHECKOUT, check=True)
    try:
        if Path(BUILDER[0]).name == "buildah":
            container = told("from", IMAGE).strip()
            demo = told("run", container, "--", "tokenguard", "demo")
            told("rm", container)
        else:
            demo = told("run", "--rm", "--read-only", "--tmpfs", "/tmp", IMAGE, "demo")
        assert re.findall("^   (ADMITTED|DENIED)", demo, re.MULTILINE) == ["ADMITTED", "DENIED", "ADMITTED", "ADMITTED"]
    finally:
        told("rmi", "--force", IMAGE)


def told(*arguments: str) -> str:
    """Return what the builder prints."""
    return subprocess.run([*BUILDER, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout
