"""The software bill of materials lists what is installed in the image, and nothing else."""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documented import CHECKOUT, PROJECT

LOCK = (CHECKOUT / "requirements/run.txt").read_text()
LOCKED = dict(re.findall(r"^(\S+)==([^\s;]+)", LOCK, re.MULTILINE))
NOT_IN_IMAGE = set(re.findall(r"^[a-z].*$", (CHECKOUT / "release/not-in-image.txt").read_text(), re.MULTILINE))
_SPEC = importlib.util.spec_from_file_location("sbom", CHECKOUT / "release/sbom.py")
SBOM = importlib.util.module_from_spec(_SPEC)
sys.modules["sbom"] = SBOM
_SPEC.loader.exec_module(SBOM)
OWN = "pkg:generic/tokenguard-webhook@1.2.3"
HASH = f"    --hash=sha256:{'0' * 64}"
ENTRY = "Package: libssl3t64\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.5.1-1+deb13u2\n"
COPYRIGHT = "Format: https://example.com/\n\nFiles: *\nLicense: Apache-2.0\n\nFiles: debian/*\nLicense: GPL-2+\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Return the root of an image: the metadata of the distributions installed here, and a package of Debian."""
    folder = tmp_path_factory.mktemp("root")
    packages = folder / "opt/tokenguard/lib/python3.13/site-packages"
    for distribution in importlib.metadata.distributions():
        name = SBOM._normalize(distribution.name)
        if name in LOCKED.keys() - NOT_IN_IMAGE:
            metadata = packages / f"{name}.dist-info/METADATA"
            metadata.parent.mkdir(parents=True)
            metadata.write_text(distribution.read_text("METADATA"))
    for path, text in {
        "etc/os-release": 'NAME="Debian GNU/Linux"\nVERSION_ID="13"\n',
        "var/lib/dpkg/status.d/libssl3t64": ENTRY,
        "usr/share/doc/libssl3t64/copyright": COPYRIGHT,
    }.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture(scope="module")
def bill(root):
    return SBOM.bill(LOCK, root, "1.2.3", None)


@pytest.mark.covers("threat-model: vulnerable package")
def test_sbom_lists_each_installed_distribution_with_its_hashes(bill) -> None:
    packages = [component for component in bill["components"] if component["purl"].startswith("pkg:pypi/")]
    expected = {name: version for name, version in LOCKED.items() if name not in NOT_IN_IMAGE}
    assert {package["name"]: package["version"] for package in packages} == expected
    for package in packages:
        block = re.search(rf"^{package['name']}==.*\n(?: +--hash=.*\n)+", LOCK, re.MULTILINE)[0]
        hashes = [digest["content"] for where in package["externalReferences"] for digest in where["hashes"]]
        assert hashes == re.findall(r"sha256:([0-9a-f]{64})", block)
        assert package["licenses"] != [{"license": {"name": "NOASSERTION"}}], package["name"]


def test_sbom_lists_packages_of_debian_with_their_licences(bill) -> None:
    [package] = [component for component in bill["components"] if component["purl"].startswith("pkg:deb/")]
    assert package["purl"] == "pkg:deb/debian/libssl3t64@3.5.1-1%2Bdeb13u2?arch=amd64&distro=debian-13"
    assert package["licenses"] == [{"license": {"name": "Apache-2.0"}}, {"license": {"name": "GPL-2+"}}]


@pytest.mark.covers("threat-model: vulnerable package")
def test_sbom_dependencies_lead_to_every_component(bill) -> None:
    references = {bill["metadata"]["component"]["bom-ref"], *(component["bom-ref"] for component in bill["components"])}
    needs = {dependency["ref"]: set(dependency["dependsOn"]) for dependency in bill["dependencies"]}
    assert needs.keys() == references
    direct = {reference.split("/")[1].split("@")[0] for reference in needs[OWN] if reference.startswith("pkg:pypi/")}
    required = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["fast"]]
    assert direct == {re.match(r"[\w-]+", requirement)[0] for requirement in required}
    reached, new = set(), {OWN}
    while new:
        reached |= new
        new = {needed for reference in new for needed in needs[reference]} - reached
    assert reached == references


def test_sbom_names_the_python_that_is_no_package_of_debian(bill, root) -> None:
    assert f"pkg:generic/python@{sys.version.split()[0]}" in bill["dependencies"][0]["dependsOn"]
    debian = root / "var/lib/dpkg/status.d/python3.13-minimal"
    debian.write_text(ENTRY.replace("libssl3t64", debian.name))
    try:
        components = SBOM.bill(LOCK, root, "1.2.3", None)["components"]
    finally:
        debian.unlink()
    assert [component["name"] for component in components if "python3" in component["name"]] == [debian.name]
    assert not any(component["purl"].startswith("pkg:generic/python@") for component in components)


def test_sbom_of_a_distribution_that_is_not_locked_fails(root, tmp_path) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="is installed, but not locked"):
        SBOM.bill(LOCK.replace("click==", "click-2=="), tmp_path, "1.2.3", None)


@pytest.mark.parametrize("line", ["a>=1", "a @ https://example.com/a.whl", "-e .", "--index-url x"])
def test_read_lock_of_a_line_that_pins_nothing_fails(line) -> None:
    with pytest.raises(ValueError, match="cannot read this line of the lock"):
        SBOM.read_lock(f"b==1 \\\n{HASH}\n{line}\n")


def test_sbom_of_the_same_root_has_the_same_bytes(root) -> None:
    script = [sys.executable, CHECKOUT / "release/sbom.py", "1.2.3", "--lock", CHECKOUT / "requirements/run.txt"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1795521600"}
    first, second = (subprocess.check_output([*script, "--root", root], env=environment) for _ in range(2))
    assert first == second
    assert json.loads(first)["metadata"]["timestamp"] == "2026-11-24T12:00:00Z"


def test_sbom_of_another_version_has_another_serial_number(bill, root) -> None:
    other = SBOM.bill(LOCK, root, "1.2.4", None)
    assert other["serialNumber"] != bill["serialNumber"]
