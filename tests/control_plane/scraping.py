"""A real Prometheus on the loopback, configured by the ServiceMonitor and the PrometheusRule."""

import contextlib
import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.control_plane.installed import Installation
from tests.control_plane.plane import free_ports
from tests.manifests.rendering import MONITORING, render, the
from tests.serving import eventually


@dataclass
class Prometheus:
    """The running one."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data in an answer of its API."""
        with urllib.request.urlopen(
            f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30
        ) as reply:
            said = json.load(reply)
        assert said["status"] == "success", said
        return said["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression gives now."""
        return self.ask("query", query=expression)["result"]

    def names(self) -> set[str]:
        """Return the names of all metrics it has read."""
        return set(self.ask("label/__name__/values"))

    def targets(self) -> dict[str, list[str]]:
        """Return the health of the targets of each job, or what is wrong with them."""
        health: dict[str, list[str]] = {}
        for target in self.ask("targets")["activeTargets"]:
            health.setdefault(target["labels"]["job"], []).append(target["lastError"] or target["health"])
        return health


def _prometheus_config(installation: Installation, folder: Path) -> dict[str, Any]:
    """Return its configuration, translated from the ServiceMonitor as the operator does."""
    [endpoint] = the("ServiceMonitor", render(MONITORING))["spec"]["endpoints"]
    authority = endpoint["tlsConfig"]["ca"]["secret"]
    assert authority["name"] == "tokenguard-tls"
    (folder / "tokenguard.crt").write_bytes(installation.secret()[authority["key"]])
    plane = installation.plane
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "tokenguard",
                "scheme": endpoint["scheme"],
                "metrics_path": endpoint["path"],
                "tls_config": {"ca_file": "tokenguard.crt", "server_name": endpoint["tlsConfig"]["serverName"]},
                "static_configs": [{"targets": [server.address for server in installation.replicas]}],
            },
            {
                "job_name": "apiserver",
                "scheme": "https",
                "tls_config": {"ca_file": str(plane.folder / "ca.crt")},
                "authorization": {"credentials": (plane.folder / "tokens.csv").read_text().partition(",")[0]},
                "static_configs": [{"targets": [plane.url.removeprefix("https://")]}],
            },
        ],
    }


@contextlib.contextmanager
def prometheus(installation: Installation, folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus on this installation and its API server; skip the test where there is none."""
    with run_prometheus(_prometheus_config(installation, folder), folder) as running:
        yield running


@contextlib.contextmanager
def run_prometheus(configuration: dict[str, Any], folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus with the rules of the manifests in `rules.yaml`; skip the test where there is none."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs prometheus: apt-get install prometheus")
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    (folder / "rules.yaml").write_text(yaml.safe_dump(the("PrometheusRule", render(MONITORING))["spec"]))
    [port] = free_ports(1)
    command = [
        program, f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    running = Prometheus(f"http://127.0.0.1:{port}")
    try:
        eventually(lambda: _answers(running))
        yield running
    finally:
        process.terminate()
        process.wait(30)


def _answers(running: Prometheus) -> bool:
    with contextlib.suppress(OSError, urllib.error.URLError):
        return bool(running.targets())
    return False
