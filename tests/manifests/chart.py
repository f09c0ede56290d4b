"""What Helm makes of the chart, for tests."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.generated_chart import CHART
from tests.manifests.rendering import Object, load_all

HELM = shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="needs helm, to render charts/tokenguard")


def is_helm_3() -> bool:
    """Return whether helm is of version 3, which has other flags and messages than 4."""
    return run_helm("version", "--short").stdout.startswith("v3.")


def run_helm(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm, which must be installed."""
    assert HELM
    return subprocess.run([HELM, *arguments], input=stdin, capture_output=True, text=True, check=False)


def template(namespace: str = "tokenguard", /, **values: Any) -> "subprocess.CompletedProcess[str]":
    """Render the chart with these values."""
    arguments = ("template", "tokenguard", str(CHART), "--namespace", namespace, "--values", "-", "--skip-tests")
    return run_helm(*arguments, stdin=yaml.safe_dump(values))


def render_chart(namespace: str = "tokenguard", /, **values: Any) -> list[Object]:
    """Return the objects that the chart makes of these values."""
    done = template(namespace, **values)
    assert done.returncode == 0, done.stderr
    return load_all(done.stdout)


def hook_objects() -> list[Object]:
    """Return the objects of 'helm test'."""
    done = run_helm("template", "tokenguard", str(CHART), "-n", "tokenguard", "-s", "templates/tests/denied-pod.yaml")
    assert done.returncode == 0, done.stderr
    return load_all(done.stdout)


def packaged(folder: Path) -> Path:
    """Package the chart, and return the archive."""
    done = run_helm("package", str(CHART), "--destination", str(folder))
    assert done.returncode == 0, done.stderr
    [archive] = folder.glob("*.tgz")
    return archive
