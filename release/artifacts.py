"""Write what a release consists of to a folder: `make release` calls it. The same commit and image give the same bytes.

From the commit that is checked out: wheel, sdist, chart, and install.yaml, which names the image by its digest. From
the OCI archives of the image, one for each architecture: one archive of all, and the bill of materials of each.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).parent.parent
NO_SECRETS = "manifests/components/no-secrets/kustomization.yaml"
LABELS = "manifests/components/labels/kustomization.yaml"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
SBOM = "opt/tokenguard/sbom.cdx.json"
_BUILD = "import sys; from setuptools import build_meta as b; out = sys.argv[1]; b.build_wheel(out); b.build_sdist(out)"


class ReleaseError(Exception):
    """What is missing for a release, or contradicts another part of it."""


class Image(NamedTuple):
    """The image for one architecture: its descriptor for an index, and its software bill of materials."""

    descriptor: dict[str, Any]
    sbom: bytes

    @property
    def architecture(self) -> str:
        """Return it as Go names it: amd64, arm64."""
        architecture: str = self.descriptor["platform"]["architecture"]
        return architecture


def git(*arguments: str) -> str:
    """Return what git prints about the checkout."""
    return subprocess.run(
        ["git", *arguments], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def check_versions(source: Path, version: str) -> None:
    """Check that every file which contains the version has this one. Raises `ReleaseError`."""
    found = {
        "pyproject.toml": tomllib.loads((source / "pyproject.toml").read_text())["project"]["version"],
        "manifests/base/kustomization.yaml": _value(source / "manifests/base/kustomization.yaml", "newTag"),
        NO_SECRETS: _value(source / NO_SECRETS, "newTag"),
        LABELS: _value(source / LABELS, "app.kubernetes.io/version"),
    }
    chart = source / "charts/tokenguard/Chart.yaml"
    if chart.exists():
        found |= {f"{chart.relative_to(source)}: {key}": _value(chart, key) for key in ("version", "appVersion")}
    others = [f"{where} has {other}" for where, other in found.items() if other != version]
    if others:
        raise ReleaseError(f"version {version} is not that of the commit: {', '.join(others)}")


def _value(path: Path, key: str) -> str:
    found = re.search(rf"^ *{key}: *['\"]?([^'\"\s]+)", path.read_text(), re.MULTILINE)
    return found[1] if found else "none"


def export(folder: Path) -> Path:
    """Copy the files of the commit, and no others, to a folder below `folder`."""
    source = folder / "source"
    files = subprocess.run(["git", "archive", "HEAD"], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        archive.extractall(source, filter="data")
    for path in source.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return source


def write_tar(path: Path, files: Mapping[str, bytes], epoch: int, *, compress: bool) -> None:
    """Write an archive whose bytes depend on names, contents and `epoch` only."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        stream: Any = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=epoch)) if compress else file
        archive = stack.enter_context(tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT))
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(files[name]), epoch
            entry.mode = 0o755 if files[name].startswith(b"#!") else 0o644
            archive.addfile(entry, io.BytesIO(files[name]))


def read_archive(path: Path) -> tuple[dict[str, bytes], list[Image]]:
    """Return the blobs of an OCI archive, and the images in it. Raises `ReleaseError` if it is incomplete."""
    with tarfile.open(path) as archive:
        content = {
            member.name.removeprefix("./"): file.read()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }
    blobs: dict[str, bytes] = {}

    def blob(descriptor: Mapping[str, Any]) -> bytes:
        digest = descriptor["digest"]
        name = f"blobs/{digest.replace(':', '/')}"
        data = content.get(name, b"")
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise ReleaseError(f"{path} has no blob {digest}")
        blobs[name] = data
        return data

    def manifests(index: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for descriptor in index["manifests"]:
            if descriptor["mediaType"] == INDEX_TYPE:
                yield from manifests(json.loads(blob(descriptor)))
                del blobs[f"blobs/{descriptor['digest'].replace(':', '/')}"]
            else:
                yield descriptor

    images = []
    for descriptor in manifests(json.loads(content["index.json"])):
        manifest = json.loads(blob(descriptor))
        config = json.loads(blob(manifest["config"]))
        platform = {key: config[key] for key in ("architecture", "os", "variant") if config.get(key)}
        found = [sbom for layer in manifest["layers"] if (sbom := _read_sbom(blob(layer)))]
        if not found:
            raise ReleaseError(f"{path}: the image has no /{SBOM}")
        identity = {key: descriptor[key] for key in ("mediaType", "digest", "size")}
        images.append(Image(identity | {"platform": platform}, found[-1]))
    return blobs, images


def _read_sbom(layer: bytes) -> bytes | None:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        for member in archive:
            if member.name.removeprefix("./").lstrip("/") == SBOM and (file := archive.extractfile(member)):
                return file.read()
    return None


def write_image(archives: list[Path], output: Path, version: str, epoch: int) -> str:
    """Write one archive of the images, and the bill of materials of each. Returns the digest of the image index."""
    blobs: dict[str, bytes] = {}
    images: list[Image] = []
    for path in archives:
        more, found = read_archive(path)
        blobs |= more
        images += found
    images.sort(key=lambda image: image.architecture)
    names = [image.architecture for image in images]
    if len(set(names)) < len(names) or not names:
        raise ReleaseError(f"one image an architecture is needed; the archives have {', '.join(names) or 'none'}")
    index = _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [image.descriptor for image in images]})
    digest = hashlib.sha256(index).hexdigest()
    reference = {
        "mediaType": INDEX_TYPE, "digest": f"sha256:{digest}", "size": len(index),
        "annotations": {"org.opencontainers.image.ref.name": version},
    }  # fmt: skip
    files = blobs | {
        f"blobs/sha256/{digest}": index,
        "index.json": _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [reference]}),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }
    write_tar(output / f"tokenguard-{version}.oci.tar", files, epoch, compress=False)
    for image in images:
        (output / f"tokenguard-{version}-{image.architecture}.cdx.json").write_bytes(image.sbom)
    return f"sha256:{digest}"


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def write_distributions(source: Path, output: Path, epoch: int) -> None:
    """Build wheel and sdist."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    environment.pop("TOKENGUARD_COMPILE", None)  # compiled modules are for the image
    built = source.parent / "distributions"
    built.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", _BUILD, str(built)]
    subprocess.run(command, cwd=source, env=environment, stdout=subprocess.DEVNULL, check=True)
    [wheel] = built.glob("*.whl")
    shutil.copy(wheel, output)
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {member.name: file.read() for member in archive if (file := archive.extractfile(member))}
    write_tar(output / sdist.name, files, epoch, compress=True)


def write_manifests(source: Path, output: Path, image: str, digest: str) -> None:
    """Write install.yaml, the manifests and the self-probe, with the image's digest."""
    chosen = source.parent / "install"
    chosen.mkdir()
    name = {"name": "tokenguard", "newName": image, "digest": digest}
    parts = {"resources": ["../source/manifests"], "components": ["../source/manifests/components/probe"]}
    (chosen / "kustomization.yaml").write_text(json.dumps({**parts, "images": [name]}))
    rendered = subprocess.run(["kubectl", "kustomize", chosen], stdout=subprocess.PIPE, check=True).stdout
    if f"{image}@{digest}".encode() not in rendered:
        raise ReleaseError("the manifests do not name the image")
    (output / "install.yaml").write_bytes(rendered)


def write_chart(chart: Path, output: Path, reference: tuple[str, str], version: str, epoch: int) -> None:
    """Write the chart, whose values name the image by `reference`, its name and its digest."""
    image, digest = reference
    registry, repository = image.split("/", 1) if "/" in image else ("", image)
    files = {
        f"{chart.name}/{path.relative_to(chart)}": path.read_bytes() for path in chart.rglob("*") if path.is_file()
    }
    name = f"{chart.name}/values.yaml"
    before, start, values = files[name].decode().partition("\nimage:\n")
    for key, value in (("registry", registry), ("repository", repository), ("digest", digest)):
        values, replaced = re.subn(rf"^  {key}: \S+", f'  {key}: "{value}"', values, count=1, flags=re.MULTILINE)
        if not replaced:
            raise ReleaseError(f"{name} has no image.{key}")
    files[name] = (before + start + values).encode()
    write_tar(output / f"{chart.name}-{version}.tgz", files, epoch, compress=True)


def write_krew_plugin(source: Path, output: Path, version: str, epoch: int, url: str) -> None:
    """Write the archive of the kubectl plugin and, if the source's `url` is known, krew's manifest, which names it."""
    [wheel] = output.glob("*.whl")
    launcher = (source / "release/krew/kubectl-tokenguard").read_text().replace("VERSION", version)
    files = {
        "kubectl-tokenguard": launcher.encode(),
        "requirements.txt": (source / "requirements/run.txt").read_bytes(),
        wheel.name: wheel.read_bytes(),
    }
    archive = output / f"kubectl-tokenguard-{version}.tar.gz"
    write_tar(archive, files, epoch, compress=True)
    if not url:
        print("no krew manifest: name the source repository with SOURCE=URL", file=sys.stderr)
        return
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    manifest = (source / "release/krew/plugin.yaml").read_text().partition("\n")[2]
    for word, value in (("VERSION", version), ("ARCHIVE", archive.name), ("SHA256", checksum), ("SOURCE", url)):
        manifest = manifest.replace(word, value)
    (output / "krew-tokenguard.yaml").write_text(manifest)


def write_checksums(output: Path) -> None:
    """Write SHA256SUMS, which `sha256sum --check` reads."""
    files = sorted(path for path in output.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (output / "SHA256SUMS").write_text("".join(lines))


def release(options: argparse.Namespace) -> None:
    """Write all artifacts. Raises `ReleaseError`."""
    epoch = int(git("log", "-1", "--format=%ct"))
    shutil.rmtree(options.work, ignore_errors=True)
    shutil.rmtree(options.output, ignore_errors=True)
    options.work.mkdir(parents=True)
    options.output.mkdir(parents=True)
    source = export(options.work)
    check_versions(source, options.version)
    digest = write_image(options.archive, options.output, options.version, epoch)
    (options.work / "digest").write_text(f"{digest}\n")
    write_manifests(source, options.output, options.image, digest)
    write_distributions(source, options.output, epoch)
    write_krew_plugin(source, options.output, options.version, epoch, options.source)
    chart = source / "charts/tokenguard"
    if chart.exists():
        write_chart(chart, options.output, (options.image, digest), options.version, epoch)
    write_checksums(options.output)
    for path in sorted(options.output.iterdir()):
        print(f"{path.stat().st_size:12,} {path}")
    print(f"image: {options.image}@{digest}")


def main() -> None:
    """Read the command line; a problem is one line on stderr and status 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("archive", nargs="*", type=Path, help="OCI archives of the image")
    parser.add_argument("--version", required=True)
    parser.add_argument("--image", help="registry and name that the image will have, without a tag")
    parser.add_argument("--source", default="", metavar="URL", help="the source repository, for krew's manifest")
    parser.add_argument("--work", type=Path, default=CHECKOUT / "build/release")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "dist")
    parser.add_argument("--check", action="store_true", help="only check that a release is possible from this commit")
    options = parser.parse_args()
    try:
        if options.check:
            check_versions(CHECKOUT, options.version)
            if git("status", "--porcelain"):
                raise ReleaseError("the checkout has changes that are not committed")  # noqa: TRY301 - reported below
        else:
            release(options)
    except ReleaseError as error:
        sys.exit(f"make release: {error}")


if __name__ == "__main__":
    main()
