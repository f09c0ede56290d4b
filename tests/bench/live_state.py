"""What the live state of a large cluster costs.

`make bench` starts the server where there are none, many, and very many Secrets. By itself,
`python -m tests.bench.live_state [SECRETS]` (100,000 by default) measures more: the Secrets are written into the
etcd of a real API server; a process of its own then loads them over HTTPS, as a worker does. Printed are the time to
load, the memory in use and its peak, the time from `kubectl` being done with a new Secret to
its being known, what it costs to store it all for a worker that restarts, and what one update costs where all are in
one namespace.
"""

import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.table import Row
from tests.control_plane.installed import as_in_a_pod
from tests.control_plane.live import put_secret
from tests.control_plane.plane import HINT, ControlPlane, control_plane, find_binaries
from tests.processes import pss_mib, tree
from tests.serving import eventually, serve
from webhook.cluster.api_types import Annotations, ApiObject, Metadata
from webhook.cluster.informers import Informers
from webhook.cluster.reflector import ObjectChange
from webhook.cluster.state_persistence import StateFiles
from webhook.cluster.state_store import StateStore
from webhook.core.cluster_state import ClusterState
from webhook.server.state import State

SECRETS = 100_000
MANY = 10_000
REPLICA_MIB = 60
"""What the processes of a replica may take with as many as `MANY`."""
READY_SECONDS = {MANY: 1.0, SECRETS: 3.0}
IN_NAMESPACE = 100
TOKEN = "x" * 1200
PATIENCE = 120.0


def stored(number: int) -> tuple[str, bytes]:
    """Return a Secret's key in etcd and its content, with about as much metadata as a real one has."""
    namespace, name = f"team-{number // IN_NAMESPACE:05}", f"application-{number:06}-token-x7k2p"
    meta = {
        "name": name,
        "namespace": namespace,
        "uid": f"00000000-0000-4000-8000-{number:012}",
        "creationTimestamp": "2021-03-04T05:06:07Z",
        "labels": {"kubernetes.io/legacy-token-last-used": "2026-11-23"},
        "annotations": {
            "kubernetes.io/service-account.name": f"application-{number:06}",
            "kubernetes.io/service-account.uid": f"00000000-0000-4000-9000-{number:012}",
        },
        "managedFields": [{
            "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": "2021-03-04T05:06:07Z", "fieldsV1": {"f:data": {".": {}, "f:ca.crt": {}, "f:namespace": {}},
            "f:metadata": {"f:annotations": {".": {}, "f:kubernetes.io/service-account.name": {}}}, "f:type": {}},
        }],
    }  # fmt: skip
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta,
        "type": "kubernetes.io/service-account-token",
        "data": {"token": base64.b64encode(TOKEN.encode()).decode()},
    }
    return f"/registry/secrets/{namespace}/{name}", json.dumps(secret).encode()


def fill(plane: ControlPlane, count: int) -> None:
    """Write so many Secrets into etcd, past the API server, which would take minutes for them."""
    for first in range(0, count, IN_NAMESPACE):
        puts = [
            {"requestPut": {"key": encoded(key.encode()), "value": encoded(value)}}
            for key, value in map(stored, range(first, min(first + IN_NAMESPACE, count)))
        ]
        plane.ask_etcd("txn", {"success": puts})


def encoded(text: bytes) -> str:
    """Return base64, as etcd's gateway takes keys and values."""
    return base64.b64encode(text).decode()


def replicas(plane: ControlPlane, folder: Path, counts: Sequence[int]) -> Iterator[Row]:
    """Yield the time from start to ready, and the memory of all processes, with so many legacy Secrets each.

    The replica finds the API server as in a pod: with a kubeconfig it would load the client library, too.
    """
    account = ("--clusterrole=cluster-admin", "--serviceaccount=tokenguard:tokenguard")
    plane.do("create", "namespace", "tokenguard")
    plane.do("create", "serviceaccount", "tokenguard", "-n", "tokenguard")
    plane.do("create", "clusterrolebinding", "tokenguard", *account)
    for count in counts:
        fill(plane, count)
        run = folder / f"with-{count}"
        run.mkdir()
        wrap, environment = as_in_a_pod(plane, run)
        began = time.monotonic()
        with serve(run, wrap=wrap, env=environment) as server:
            seconds = time.monotonic() - began
            eventually(lambda wanted=count: server.metric("tokenguard_legacy_secrets") == wanted)
            memory = sum(map(pss_mib, tree(server.process.pid)))
        goal = READY_SECONDS.get(count, min(READY_SECONDS.values()))
        compared = f"{goal:.1f} (goal)"
        yield Row(f"start to ready with {count:,} Secrets, s", f"{seconds:.1f}", compared, seconds / goal, 1)
        of_goal = memory / REPLICA_MIB
        yield Row(f"a replica's PSS with {count:,} Secrets, MiB", f"{memory:.1f}", f"{REPLICA_MIB} (goal)", of_goal,
                  1 if count <= MANY else None)  # fmt: skip


def load(kubeconfig: Path) -> None:
    """Load the state as a worker does, print what that cost, and then each change of the number of Secrets."""
    with tempfile.TemporaryDirectory() as folder:
        empty = memory()
        state = State()
        live = Informers(state, ClusterState(), lambda _accepted: None, Path(folder), kubeconfig=kubeconfig)
        began, cpu = time.monotonic(), time.process_time()
        threading.Thread(target=live.start, daemon=True).start()
        while state._cluster is None:
            time.sleep(0.01)
        seconds, used = time.monotonic() - began, time.process_time() - cpu
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"secrets": total(state), "seconds": seconds, "cpu": used, "memory": memory() - empty,
                          "most": most - empty}), flush=True)  # fmt: skip
        before = total(state)
        while total(state) == before:
            time.sleep(0.001)
        print(time.time(), flush=True)
        live.stop()


def total(state: State) -> int:
    """Return how many Secrets are known."""
    return sum(map(len, state._cluster.legacy_tokens.values())) if state._cluster else 0


def memory() -> float:
    """Return this process' resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def one_update(count: int) -> float:
    """Return the seconds that one update takes where all Secrets are in one namespace."""
    index = StateStore(ClusterState(), lambda _cluster: None)

    def secrets() -> Iterator[ApiObject]:
        for number in range(count):
            yield ApiObject(metadata=Metadata(f"application-{number:06}-token", "demo", annotations=Annotations("app")))

    index.secrets.replace(secrets())
    new = [ObjectChange(ApiObject(metadata=Metadata(f"new-{number}", "demo")), deleted=False) for number in range(20)]
    began = time.process_time()
    for change in new:
        index.secrets.apply([change])
    return (time.process_time() - began) / len(new)


def storing(count: int) -> tuple[float, float]:
    """Return the seconds of CPU that it takes to write so many Secrets to the state file, and to read them."""
    secrets: dict[str, dict[str, str]] = {}
    for number in range(count):
        tokens = secrets.setdefault(f"team-{number // IN_NAMESPACE:05}", {})
        tokens[f"application-{number:06}-token-x7k2p"] = f"application-{number:06}"
    with tempfile.TemporaryDirectory() as folder:
        files = StateFiles(Path(folder), Path(folder, "policy.yaml"), ClusterState(), {}, lambda _: files.stop())
        files.use_cluster(ClusterState(secrets))
        files.schedule_write()
        started = time.process_time()
        files.run()
        written = time.process_time()
        files.read()
        return written - started, time.process_time() - written


def main(count: int) -> None:
    """Measure, and print a table."""
    binaries = find_binaries()
    if binaries is None:
        sys.exit(HINT)
    with tempfile.TemporaryDirectory() as folder, control_plane(binaries, Path(folder)) as plane:
        plane.do("create", "namespace", "demo")
        fill(plane, count)
        command = [sys.executable, "-m", "tests.bench.live_state", "--load", f"{folder}/kubeconfig"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            stop = threading.Timer(PATIENCE, worker.kill)
            stop.start()
            cost = json.loads(worker.stdout.readline())
            put_secret(plane, "one-more", "demo")
            done = time.time()
            delay = float(worker.stdout.readline()) - done
            stop.cancel()
    print(f"Secrets loaded            {cost['secrets']:>10,}")
    print(f"time to load              {cost['seconds']:>10.1f} s, of which {cost['cpu']:.1f} s this process' CPU")
    print(f"memory in use             {cost['memory']:>10.1f} MiB")
    print(f"memory at the most        {cost['most']:>10.1f} MiB")
    print(f"a new one is known after  {max(delay, 0) * 1000:>10.1f} ms (0: before kubectl is done)")
    written, read = storing(count)
    print(f"state file written in     {written * 1000:>10.1f} ms of CPU, at most once a second")
    print(f"and read in               {read * 1000:>10.1f} ms of CPU")
    print(f"one update, one namespace {one_update(count) * 1e6:>10.1f} us")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        load(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else SECRETS)
