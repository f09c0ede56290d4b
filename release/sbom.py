"""The software bill of materials of an image, as CycloneDX 1.6 in JSON, on stdout.

python3 sbom.py VERSION --lock requirements/run.txt --root FOLDER: lists what is installed below FOLDER, the root of the
image: the Python distributions of /opt/tokenguard with the hashes that the lock pins, and Debian's packages, each with
its licence. It needs only Python, because it runs where the image is built. The same folder gives the same bytes: the
serial number comes from the content, and the time from SOURCE_DATE_EPOCH, if that is set.
"""

import argparse
import datetime as dt
import email
import email.message
import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

OWN = "tokenguard-webhook"
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\\n]+?))?(?: \\)?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_REQUIRED_BY = re.compile(r"^    # (?:via |  )([A-Za-z0-9._-]+)")
_CLASSIFIER = "License :: OSI Approved :: "
_LONGEST_LICENCE = 100


class Pinned(NamedTuple):
    """A distribution in a lock file: what requires it, and the SHA-256 of each file that may be installed for it."""

    version: str
    hashes: list[str]
    required_by: list[str]


class Component(NamedTuple):
    """A package in the image; `purl` is its package URL, and its reference."""

    name: str
    version: str
    purl: str
    licences: list[dict[str, Any]]
    hashes: list[str]

    def document(self) -> dict[str, Any]:
        """Return it as CycloneDX has it."""
        document: dict[str, Any] = {
            "type": "library", "bom-ref": self.purl, "name": self.name, "version": self.version, "purl": self.purl,
            "licenses": self.licences,
        }  # fmt: skip
        if self.hashes:
            document["externalReferences"] = [
                {"type": "distribution", "url": self.purl, "hashes": [{"alg": "SHA-256", "content": digest}]}
                for digest in self.hashes
            ]
        return document


def read_lock(lock: str) -> dict[str, Pinned]:
    """Read a lock file, as `uv pip compile --generate-hashes` writes it. Raises ValueError at any other line."""
    found: dict[str, Pinned] = {}
    last: Pinned | None = None
    for line in lock.splitlines():
        start = _PINNED.match(line)
        if start:
            last = found[_normalize(start["name"])] = Pinned(start["version"], [], [])
        elif last and (digest := _HASH.search(line)):
            last.hashes.append(digest[1])
        elif last and (by := _REQUIRED_BY.match(line)):
            last.required_by.append(by[1])
        elif line.strip() and line.strip() != "# via":
            raise ValueError(f"cannot read this line of the lock: {line}")
    return found


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def python_packages(root: Path, locked: Mapping[str, Pinned]) -> list[Component]:
    """Return the distributions that tokenguard's environment has. Raises ValueError if the lock has no such version."""
    found = []
    for path in sorted(root.glob("opt/tokenguard/lib/python*/site-packages/*.dist-info/METADATA")):
        metadata = email.message_from_bytes(path.read_bytes())
        name, version = _normalize(metadata["Name"]), metadata["Version"]
        if name == OWN:
            continue
        if name not in locked or locked[name].version != version:
            raise ValueError(f"{name} {version} is installed, but not locked")
        found.append(Component(name, version, f"pkg:pypi/{name}@{version}", _licences(metadata), locked[name].hashes))
    return found


def _licences(metadata: "email.message.Message[str, str]") -> list[dict[str, Any]]:
    if expression := metadata["License-Expression"]:
        return [{"expression": expression}]
    classifiers = metadata.get_all("Classifier", [])
    names = [text.removeprefix(_CLASSIFIER) for text in classifiers if text.startswith(_CLASSIFIER)]
    text = metadata["License"] or ""
    return _named(names or ([text] if 0 < len(text) < _LONGEST_LICENCE else []))


def _named(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"license": {"name": name}} for name in sorted(set(names)) or ["NOASSERTION"]]


def debian_packages(root: Path) -> list[Component]:
    """Return Debian's packages of which the image has files, each with the licences that its copyright file names."""
    release = re.search(r'^VERSION_ID="?([0-9.]+)', _text(root / "etc/os-release"), re.MULTILINE)
    distribution = f"&distro=debian-{release[1]}" if release else ""
    found = []
    for path in sorted(root.glob("var/lib/dpkg/status.d/*")):
        entry = email.message_from_bytes(path.read_bytes())
        name, version = entry["Package"], entry["Version"]
        purl = f"pkg:deb/debian/{name}@{quote(version, safe='~')}?arch={entry['Architecture']}{distribution}"
        licences = _debian_licences(_text(root / "usr/share/doc" / name / "copyright"))
        found.append(Component(name, version, purl, _named(licences), []))
    return found


def _debian_licences(text: str) -> list[str]:
    """Return the licences that a copyright file names by keys, or else by the text of them that Debian has."""
    if text.startswith("Format:"):
        return re.findall(r"^License: *(\S.*?) *$", text, re.MULTILINE)
    return re.findall(r"/usr/share/common-licenses/([A-Za-z0-9.-]*[A-Za-z0-9])", text)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def interpreter() -> Component:
    """Return the Python that runs this, which is the image's, where it is not one of Debian's packages."""
    version = platform.python_version()
    return Component("python", version, f"pkg:generic/python@{version}", [{"license": {"id": "PSF-2.0"}}], [])


def bill(lock: str, root: Path, version: str, built: dt.datetime | None) -> dict[str, Any]:
    """Return the document for an image with tokenguard in a version; `built` is its time, if it shall have one."""
    locked = read_lock(lock)
    packages = python_packages(root, locked)
    system = debian_packages(root)
    if not any(re.fullmatch(r"python3\.\d+-minimal", package.name) for package in system):
        system.append(interpreter())
    own = f"pkg:generic/{OWN}@{version}"
    references = {OWN: own} | {package.name: package.purl for package in packages}
    needs: dict[str, list[str]] = {reference: [] for reference in references.values()}
    for package in packages:
        for name in locked[package.name].required_by:
            if name in references:
                needs[references[name]].append(package.purl)
    needs |= {package.purl: [] for package in system}
    needs[own] += [package.purl for package in system]
    metadata: dict[str, Any] = {
        "component": {"type": "application", "bom-ref": own, "name": OWN, "version": version, "purl": own},
    }
    if built:
        metadata["timestamp"] = f"{built:%Y-%m-%dT%H:%M:%SZ}"
    components = [package.document() for package in [*packages, *system]]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([own, components]))}",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": [{"ref": reference, "dependsOn": sorted(of)} for reference, of in needs.items()],
    }


def main() -> None:
    """Write the bill to stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("version")
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    options = parser.parse_args()
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    built = dt.datetime.fromtimestamp(int(epoch), dt.UTC) if epoch else None
    json.dump(bill(options.lock.read_text(), options.root, options.version, built), sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
