"""What a scan of a large cluster costs: `tokenguard scan` of a real API server with ever more pods.

A few teams are created through the API server, with all that their pods have in a cluster. The others are copies,
written into etcd past it: the stored bytes with other names and uids of the same length.
"""

import base64
import contextlib
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.live_state import encoded
from tests.bench.table import Row
from tests.control_plane.crowd import SPECS, Crowd
from tests.control_plane.plane import HINT, ControlPlane, control_plane, find_binaries
from tests.end_to_end.cluster import Object
from tests.serving import eventually

SIZES = {"Deployment": 16, "StatefulSet": 12, "DaemonSet": 12, "CronJob": 9, "Pod": 1}
PODS_PER_TEAM, WORKLOADS_PER_TEAM = sum(SIZES.values()), len(SIZES)
FIRST = 1000
"""The number of the first team: all have four digits, so that a copy is as long as its model."""
PODS = (5_000, 25_000, 50_000)
MAX_MIB = 200
_BATCH = 100
_UID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def scans(plane: ControlPlane, counts: Sequence[int] = PODS) -> Iterator[Row]:
    """Yield time and memory of scans with so many pods; the CPU of each is compared with a linear growth."""
    models = _create_models(plane)
    created = len(SPECS)
    smallest: dict[str, float] = {}
    for count in counts:
        teams = count // PODS_PER_TEAM
        copy(plane, models, range(created, teams))
        created = max(created, teams)
        eventually(lambda wanted=count: _pods(plane) == wanted, patience=300)
        for output in ("json", "html"):
            seconds, cpu, memory = _measure(plane, output)
            what = f"scan -o {output}, {count:,} pods in {teams * WORKLOADS_PER_TEAM:,} workloads"
            linear = smallest.setdefault(output, cpu / count) * count
            yield Row(f"{what}: s", f"{seconds:.1f}", f"{cpu:.1f} (CPU of the scan)", seconds / cpu)
            yield Row(f"{what}: s of CPU", f"{cpu:.1f}", f"{linear:.1f} (linear)", cpu / linear)
            yield Row(f"{what}: peak MiB", f"{memory:.0f}", f"{MAX_MIB} (goal)", memory / MAX_MIB, 1)


def _create_models(plane: ControlPlane) -> list[list[tuple[bytes, bytes]]]:
    """Create one team for each of `SPECS`; return what etcd stores of each."""
    with contextlib.closing(Crowd(plane, sizes=SIZES)) as crowd:
        crowd.fill(range(FIRST, FIRST + len(SPECS)))
        for namespace, name in crowd.pods:
            path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
            _, pod, _ = crowd.ask("GET", path)
            status, answer, _ = crowd.ask("PUT", path, pod | {"status": _status(pod)})
            assert status == 200, answer
    stored = plane.ask_etcd("range", {"key": encoded(b"/registry/"), "range_end": encoded(b"/registry0")})["kvs"]
    pairs = [(base64.b64decode(pair["key"]), base64.b64decode(pair["value"])) for pair in stored]
    return [[pair for pair in pairs if _name(team) in pair[0]] for team in range(len(SPECS))]


def _name(team: int) -> bytes:
    return b"team-%d" % (FIRST + team)


def copy(plane: ControlPlane, models: list[list[tuple[bytes, bytes]]], teams: range) -> None:
    """Write teams into etcd."""
    puts = []
    for team in teams:
        model = team % len(models)
        old, new, end = _name(model), _name(team), b"%04x" % team
        for key, value in models[model]:
            copied = _UID.sub(lambda uid, end=end: uid.group()[:-4] + end, value.replace(old, new))
            put = {"key": encoded(key.replace(old, new)), "value": encoded(copied)}
            puts.append({"requestPut": put})
    for first in range(0, len(puts), _BATCH):
        plane.ask_etcd("txn", {"success": puts[first : first + _BATCH]})


def _status(pod: Object) -> Object:
    """Return the status of a running pod."""
    now = pod["metadata"]["creationTimestamp"]
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    image = "registry.k8s.io/pause@sha256:ee6521f290b2168b6e0935a181d4cff9be1ac3f505666ef0e3c98fae8199917a"
    return {
        "phase": "Running",
        "conditions": [{"type": name, "status": "True", "lastTransitionTime": now} for name in conditions],
        "hostIP": "10.1.2.3",
        "podIP": "10.2.3.4",
        "podIPs": [{"ip": "10.2.3.4"}],
        "startTime": now,
        "qosClass": pod["status"]["qosClass"],
        "containerStatuses": [
            {"name": container["name"], "image": container["image"], "imageID": image,
             "containerID": f"containerd://{'a' * 64}",
             "ready": True, "started": True, "restartCount": 0, "state": {"running": {"startedAt": now}}}
            for container in pod["spec"]["containers"]
        ],
    }  # fmt: skip


def _pods(plane: ControlPlane) -> int:
    _, page = plane.ask("GET", "/api/v1/pods?limit=1")
    return 1 + int(page["metadata"].get("remainingItemCount", 0))


def _measure(plane: ControlPlane, output: str) -> tuple[float, float, float]:
    """Return the seconds of a scan, its seconds of CPU, and its peak memory in MiB."""
    with tempfile.TemporaryFile() as report:
        kubeconfig = str(plane.folder / "kubeconfig")
        command = [sys.executable, "-m", "tests.bench.scan_size", "--scan", kubeconfig, output]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOKENGUARD_")}
        done = subprocess.run(command, stdout=report, stderr=subprocess.PIPE, text=True, env=environment, check=True)
    seconds, cpu, memory = map(float, done.stderr.split())
    return seconds, cpu, memory


def _scan(kubeconfig: str, output: str) -> None:
    """Scan in a process of its own, whose parent is small, and print what it cost to stderr."""
    command = [sys.executable, "-m", "webhook", "scan", "--kubeconfig", kubeconfig, "--output", output]
    began = time.monotonic()
    subprocess.run(command, check=False)
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)


def main(counts: Sequence[int]) -> None:
    """Measure and print."""
    binaries = find_binaries()
    if binaries is None:
        sys.exit(HINT)
    with tempfile.TemporaryDirectory() as folder, control_plane(binaries, Path(folder)) as plane:
        for row in scans(plane, counts):
            print(*row.cells, sep=" | ", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--scan"]:
        _scan(*sys.argv[2:])
    else:
        main(tuple(map(int, sys.argv[1:])) or PODS)
