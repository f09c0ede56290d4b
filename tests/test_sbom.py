"""The software bill of materials says what the lock pins, and nothing else."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
LOCK = (CHECKOUT / "requirements/run.txt").read_text()
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
_SPEC = importlib.util.spec_from_file_location("sbom", CHECKOUT / "requirements/sbom.py")
SBOM = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(SBOM)
BILL = SBOM.bill(LOCK, "1.2.3", None)
HASH = f"    --hash=sha256:{'0' * 64}"


@pytest.mark.covers("threat-model: vulnerable package")
def test_sbom_has_every_locked_package_with_its_hashes() -> None:
    locked = dict(re.findall(r"^(\S+)==([^\s;]+)", LOCK, re.MULTILINE))
    assert {component["name"]: component["version"] for component in BILL["components"]} == locked
    assert len(BILL["components"]) == len(locked)
    told = [
        digest["content"]
        for component in BILL["components"] for where in component["externalReferences"] for digest in where["hashes"]
    ]  # fmt: skip
    assert told == re.findall(r"sha256:([0-9a-f]{64})", LOCK)


@pytest.mark.covers("threat-model: vulnerable package")
def test_sbom_dependencies_are_the_projects_and_resolve() -> None:
    known = {BILL["metadata"]["component"]["bom-ref"], *(component["bom-ref"] for component in BILL["components"])}
    assert {dependency["ref"] for dependency in BILL["dependencies"]} == known
    needs = {dependency["ref"]: set(dependency["dependsOn"]) for dependency in BILL["dependencies"]}
    direct = {reference.split("/")[1].split("@")[0] for reference in needs["pkg:generic/tokenguard-webhook@1.2.3"]}
    in_the_image = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["fast"]]
    assert direct == {re.match(r"[\w-]+", requirement)[0] for requirement in in_the_image}
    reached, new = set(), {"pkg:generic/tokenguard-webhook@1.2.3"}
    while new:
        reached |= new
        new = {reference for entry in new for reference in needs[entry]} - reached
    assert reached == known


def test_conditional_package_is_optional_with_its_condition() -> None:
    lock = f"a==1 ; sys_platform == 'win32' \\\n{HASH}\n    # via tokenguard-webhook (pyproject.toml)\n"
    [component] = SBOM.bill(lock, "1", None)["components"]
    assert (component["version"], component["scope"]) == ("1", "optional")
    assert component["properties"] == [{"name": "tokenguard:marker", "value": "sys_platform == 'win32'"}]


@pytest.mark.parametrize("line", ["a>=1", "a @ https://example.com/a.whl", "-e .", "--index-url x"])
def test_unpinned_line_is_an_error(line) -> None:
    with pytest.raises(ValueError, match="this line is not understood"):
        SBOM.pinned(f"b==1 \\\n{HASH}\n{line}\n")


def test_sbom_is_reproducible_and_its_serial_follows_the_lock() -> None:
    def written(lock: str) -> bytes:
        call = [sys.executable, str(CHECKOUT / "requirements/sbom.py"), PROJECT["version"]]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1795521600"}
        return subprocess.run(call, input=lock.encode(), stdout=subprocess.PIPE, check=True, env=environment).stdout

    once = written(LOCK)
    assert once == written(LOCK)
    assert json.loads(once)["metadata"]["timestamp"] == "2026-11-24T12:00:00Z"
    assert json.loads(once)["serialNumber"] != json.loads(written(f"{LOCK}b==1 \\\n{HASH}\n"))["serialNumber"]
