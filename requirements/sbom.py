"""The software bill of materials: what a lock file pins, as CycloneDX 1.6 in JSON, on stdout.

python3 requirements/sbom.py VERSION < requirements/run.txt. It needs nothing but Python, because it runs where the
image is built. The same lock gives the same bytes: the serial number comes from the content, and the time from
SOURCE_DATE_EPOCH, if that is set. What the base image brings along is not in it.
"""

import datetime as dt
import json
import os
import re
import sys
import uuid
from typing import Any, NamedTuple

OWN = "tokenguard-webhook"
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\\n]+?))?(?: \\)?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_BY = re.compile(r"^    # (?:via |  )([A-Za-z0-9._-]+)")


class Pinned(NamedTuple):
    """A distribution in a lock file: who asks for it, and the SHA-256 of each file that may be installed for it."""

    name: str
    version: str
    marker: str
    hashes: list[str]
    asked_for_by: list[str]

    @property
    def purl(self) -> str:
        """What package it is, as a package URL; it serves as its reference, too."""
        return f"pkg:pypi/{self.name}@{self.version}"


def pinned(lock: str) -> list[Pinned]:
    """Read a lock file, as `uv pip compile --generate-hashes` writes it. Raises ValueError at any other line."""
    found: list[Pinned] = []
    for line in lock.splitlines():
        start = _PINNED.match(line)
        if start:
            name = re.sub(r"[-_.]+", "-", start["name"]).lower()
            found.append(Pinned(name, start["version"], start["marker"] or "", [], []))
        elif found and (digest := _HASH.search(line)):
            found[-1].hashes.append(digest[1])
        elif found and (by := _BY.match(line)):
            found[-1].asked_for_by.append(by[1])
        elif line.strip() and line.strip() != "# via":
            raise ValueError(f"this line is not understood: {line}")
    return found


def bill(lock: str, version: str, built: dt.datetime | None) -> dict[str, Any]:
    """Return the document for tokenguard in a version, `built` at a time if that is to be told."""
    components = pinned(lock)
    own = f"pkg:generic/{OWN}@{version}"
    references = {OWN: own} | {one.name: one.purl for one in components}
    needs: dict[str, list[str]] = {reference: [] for reference in references.values()}
    for one in components:
        for who in one.asked_for_by:
            needs[references[who]].append(one.purl)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{own}\n{lock}")
    metadata: dict[str, Any] = {
        "component": {"type": "application", "bom-ref": own, "name": OWN, "version": version, "purl": own},
    }
    if built:
        metadata["timestamp"] = f"{built:%Y-%m-%dT%H:%M:%SZ}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": metadata,
        "components": [_component(one) for one in components],
        "dependencies": [{"ref": reference, "dependsOn": sorted(of)} for reference, of in needs.items()],
    }


def _component(one: Pinned) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library", "bom-ref": one.purl, "name": one.name, "version": one.version, "purl": one.purl,
        "scope": "optional" if one.marker else "required",
        "externalReferences": [
            {"type": "distribution", "url": one.purl, "hashes": [{"alg": "SHA-256", "content": digest}]}
            for digest in one.hashes
        ],
    }  # fmt: skip
    if one.marker:
        component["properties"] = [{"name": "tokenguard:marker", "value": one.marker}]
    return component


def main() -> None:
    """Read a lock from stdin, write the bill to stdout."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    built = dt.datetime.fromtimestamp(int(epoch), dt.UTC) if epoch else None
    json.dump(bill(sys.stdin.read(), sys.argv[1], built), sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
