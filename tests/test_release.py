"""The artifacts of a release: `release/artifacts.py` on small images, without an image builder."""

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.documented import CHECKOUT, PAGES, PROJECT
from tests.manifests.rendering import render

SCRIPT = CHECKOUT / "release/artifacts.py"
VERSION = PROJECT["version"]
IMAGE = "registry.example.com/team/tokenguard"
SOURCE = "https://git.example.com/team/tokenguard"
SBOM = "opt/tokenguard/sbom.cdx.json"

pytestmark = [
    pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="a release is made from a git checkout"),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl, which renders install.yaml, is missing"),
]


def packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def write_image(path: Path, architecture: str, sbom: str = SBOM) -> Path:
    """Write an OCI archive of an image that contains its bill of materials."""
    blobs = {}

    def add(content: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}",
            "digest": f"sha256:{digest}",
            "size": len(content),
        }

    layer = gzip.compress(packed({sbom: f'{{"sbom": "{architecture}"}}'.encode()}))
    config = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    manifest = {
        "schemaVersion": 2,
        "config": add(json.dumps(config).encode(), "config.v1+json"),
        "layers": [add(layer, "layer.v1.tar+gzip")],
    }
    index = {"schemaVersion": 2, "manifests": [add(json.dumps(manifest).encode(), "manifest.v1+json")]}
    path.write_bytes(packed({"index.json": json.dumps(index).encode(), **blobs}))
    return path


def release(folder: Path, *archives: Path, version: str = VERSION) -> subprocess.CompletedProcess[str]:
    arguments = [
        "--version",
        version,
        "--image",
        IMAGE,
        "--source",
        SOURCE,
        "--work",
        folder / "work",
        "--output",
        folder / "dist",
    ]
    command = [sys.executable, SCRIPT, *arguments, *archives]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    return [write_image(folder / f"{architecture}.tar", architecture) for architecture in ("arm64", "amd64")]


@pytest.fixture(scope="module")
def dist(tmp_path_factory, images) -> Path:
    folder = tmp_path_factory.mktemp("release")
    done = release(folder, *images)
    assert done.returncode == 0, done.stderr
    return folder / "dist"


def image_index(dist: Path) -> tuple[str, dict[str, object]]:
    """Return the digest and the content of the index in the image's archive."""
    with tarfile.open(dist / f"tokenguard-{VERSION}.oci.tar") as archive:
        [reference] = json.load(archive.extractfile("index.json"))["manifests"]
        content = archive.extractfile(f"blobs/{reference['digest'].replace(':', '/')}").read()
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == reference["digest"]
    return reference["digest"], json.loads(content)


def test_release_has_every_artifact_and_its_checksum(dist):
    checksums = dict(reversed(line.split("  ")) for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert checksums.keys() == {path.name for path in dist.iterdir()} - {"SHA256SUMS"}
    for name, checksum in checksums.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == checksum
    expected = {
        "install.yaml",
        f"tokenguard-{VERSION}.tgz",
        f"tokenguard-{VERSION}.oci.tar",
        f"tokenguard-{VERSION}-amd64.cdx.json",
        f"tokenguard-{VERSION}-arm64.cdx.json",
        f"tokenguard_webhook-{VERSION}-py3-none-any.whl",
        f"tokenguard_webhook-{VERSION}.tar.gz",
        f"kubectl-tokenguard-{VERSION}.tar.gz",
        "krew-tokenguard.yaml",
    }
    assert expected <= checksums.keys()


def test_release_of_the_same_commit_has_the_same_bytes(dist, images, tmp_path):
    assert release(tmp_path, *reversed(images)).returncode == 0
    assert (tmp_path / "dist/SHA256SUMS").read_text() == (dist / "SHA256SUMS").read_text()


def test_release_image_has_both_architectures_and_their_sboms(dist):
    _, index = image_index(dist)
    assert [manifest["platform"]["architecture"] for manifest in index["manifests"]] == ["amd64", "arm64"]
    for architecture in ("amd64", "arm64"):
        sbom = json.loads((dist / f"tokenguard-{VERSION}-{architecture}.cdx.json").read_bytes())
        assert sbom == {"sbom": architecture}


def test_install_yaml_names_the_image_by_its_digest(dist):
    objects = list(yaml.safe_load_all((dist / "install.yaml").read_text()))
    images = re.findall(r"image: *(\S+)", (dist / "install.yaml").read_text())
    assert set(images) == {f"{IMAGE}@{image_index(dist)[0]}"}
    rendered = [*render("manifests"), *render("manifests/probe")]
    assert sorted(map(identity, objects)) == sorted(map(identity, rendered))


def identity(item):
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def test_install_yaml_takes_the_policy_of_the_kustomization(dist, tmp_path):
    shown = re.search(r"```yaml\n(.*?)```", PAGES["docs/releases.md"], re.DOTALL)[1]
    policy = "apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n"
    for name, text in {"kustomization.yaml": shown, "policy.yaml": policy}.items():
        (tmp_path / name).write_text(text)
    shutil.copy(dist / "install.yaml", tmp_path)
    rendered = list(yaml.safe_load_all(subprocess.check_output(["kubectl", "kustomize", tmp_path])))
    [own] = [item for item in rendered if item["kind"] == "ConfigMap" and item["metadata"]["name"] == "token-policy"]
    assert own["data"] == {"policy.yaml": policy}
    assert own["metadata"]["labels"]["tokenguard/policy"] == "true"
    released = yaml.safe_load_all((dist / "install.yaml").read_text())
    assert [item for item in released if item not in rendered and item["kind"] != "ConfigMap"] == []


@pytest.mark.skipif(not shutil.which("helm"), reason="helm is missing")
def test_chart_names_the_image_by_its_digest(dist):
    chart = dist / f"tokenguard-{VERSION}.tgz"
    rendered = subprocess.check_output(["helm", "template", "tokenguard", chart, "-n", "tokenguard"], text=True)
    assert set(re.findall(r"image: *(\S+)", rendered)) == {f"{IMAGE}@{image_index(dist)[0]}"}
    subprocess.run(["helm", "lint", "--strict", chart], check=True)


def test_wheel_and_sdist_have_the_package_and_its_build(dist):
    with zipfile.ZipFile(dist / f"tokenguard_webhook-{VERSION}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
    assert {"webhook/cli/main.py", "webhook/demo/policy.yaml"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"webhook", f"tokenguard_webhook-{VERSION}.dist-info"}
    with tarfile.open(dist / f"tokenguard_webhook-{VERSION}.tar.gz") as sdist:
        below = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"PKG-INFO", "pyproject.toml", "setup.py", "webhook/compiled.py", "webhook/demo/policy.yaml"} <= below


def test_krew_manifest_names_the_plugins_archive(dist):
    plugin = yaml.safe_load((dist / "krew-tokenguard.yaml").read_text())
    name = f"kubectl-tokenguard-{VERSION}.tar.gz"
    [platform] = plugin["spec"]["platforms"]
    assert (plugin["metadata"]["name"], plugin["spec"]["version"]) == ("tokenguard", f"v{VERSION}")
    assert platform["uri"] == f"{SOURCE}/releases/download/v{VERSION}/{name}"
    assert platform["sha256"] == hashlib.sha256((dist / name).read_bytes()).hexdigest()
    with tarfile.open(dist / name) as archive:
        launcher = archive.getmember(platform["bin"])
        text = archive.extractfile(launcher).read().decode()
        wheel = archive.extractfile(f"tokenguard_webhook-{VERSION}-py3-none-any.whl").read()
    assert (launcher.mode, wheel) == (0o755, (dist / f"tokenguard_webhook-{VERSION}-py3-none-any.whl").read_bytes())
    assert f"/tokenguard/{VERSION}\n" in text
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_release_of_another_version_than_the_commits_fails(images, tmp_path):
    done = release(tmp_path, *images, version="9.9.9")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"version 9.9.9 is not that of the commit: pyproject.toml has {VERSION}" in done.stderr


def damaged(path: Path) -> Path:
    path.write_bytes(write_image(path, "amd64").read_bytes().replace(b'"schemaVersion"', b'"schemaVersioN"'))
    return path


@pytest.mark.parametrize(
    ("archives", "message"),
    [
        pytest.param(lambda _: [], "the archives have none", id="no archive"),
        pytest.param(lambda folder: [write_image(folder / "a", "amd64")] * 2, "have amd64, amd64", id="one twice"),
        pytest.param(lambda folder: [write_image(folder / "a", "amd64", "etc/x")], f"has no /{SBOM}", id="no sbom"),
        pytest.param(lambda folder: [damaged(folder / "a")], "has no blob sha256:", id="damaged"),
    ],
)
def test_release_of_an_incomplete_image_fails(archives, message, tmp_path):
    done = release(tmp_path, *archives(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr
