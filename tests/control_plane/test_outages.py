"""Reviews are evaluated while the API server is unreachable, refuses requests, or has expired versions."""

import contextlib
import http.client
import os
import re
import signal
import time

import pytest

from tests.commands import run_command
from tests.control_plane.live import (
    BY_LABEL,
    NAMESPACE,
    WARN,
    ages,
    install,
    is_allowed,
    is_denied,
    put_policy,
    put_secret,
    revision,
    revisions,
    stored,
)
from tests.serving import eventually
from webhook.cluster.api_client import ApiClient
from webhook.cluster.api_types import NAMESPACES
from webhook.cluster.listing import list_objects
from webhook.cluster.reflector import Reflector, SyncCallbacks
from webhook.cluster.state_store import StateStore
from webhook.core.cluster_state import ClusterState

OUTAGE = 20.0


@pytest.fixture(scope="module")
def plane(live_plane):
    return live_plane


def ready_now(server) -> list[int]:
    """Return the status of /readyz, unless the worker that was to answer is killed."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return [server.request("GET", "/readyz").status]
    return []


@contextlib.contextmanager
def away(plane):
    plane.kill()
    try:
        yield "the connection to the server "
    finally:
        plane.start()


@contextlib.contextmanager
def refusing(plane):
    plane.do("delete", "clusterrolebinding/tokenguard")
    plane.do("delete", "rolebinding/tokenguard", "-n", NAMESPACE)
    try:
        yield "HTTP 403"
    finally:
        install(plane)


@pytest.mark.parametrize("outage", [away, refusing])
@pytest.mark.covers("failure-modes: API server unreachable")
def test_worker_restarted_in_an_outage_decides_as_before(plane, server, namespace, outage) -> None:
    trusted = f"{namespace}-trusted"
    plane.do("create", "namespace", trusted)
    plane.do("label", "namespace", trusted, "trust=high")
    put_policy(plane, BY_LABEL)
    for name in (namespace, trusted):
        put_secret(plane, "old", name)
    eventually(lambda: is_denied(server, namespace, "old") and f'"{trusted}":{{"old"' in stored(server))
    eventually(lambda: revisions(server) == {revision(BY_LABEL)})
    logged = len(server.log)
    with outage(plane) as why:
        gone = server.workers
        for worker in gone:
            os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
        statuses = set()
        eventually(lambda: statuses.update(ready_now(server)) or set(server.workers) - set(gone))
        eventually(lambda: statuses.update(ready_now(server)) or server.log[logged:].count(why) >= 3)
        assert statuses == {200}
        assert revisions(server) == {revision(BY_LABEL)}
        assert is_denied(server, namespace, "old")
        assert is_allowed(server, trusted, "old")
        since = time.monotonic() - killed
        now = ages(server)
        assert all(now[what] >= since for what in ("policy", "secrets", "namespaces")), "nothing was heard since"
        eventually(lambda: all(age > now[what] + 0.1 for what, age in ages(server).items()))
    put_secret(plane, "new", namespace)
    eventually(lambda: is_denied(server, namespace, "new"))
    put_policy(plane, WARN)
    eventually(lambda: revisions(server) == {revision(WARN)})


@pytest.mark.covers("failure-modes: API server unreachable")
def test_new_secret_is_known_soon_after_an_outage(plane, server, namespace) -> None:
    began = time.monotonic()
    with away(plane):
        time.sleep(OUTAGE)
    back = time.monotonic()
    put_secret(plane, "new", namespace)
    eventually(lambda: is_denied(server, namespace, "new"))
    assert time.monotonic() - back < (back - began) / 5


@pytest.mark.covers("threat-model: A pod that is created before tokenguard knows the legacy Secret")
def test_pod_created_before_its_legacy_secret_is_found_by_scan(plane, server, namespace) -> None:
    plane.do("create", "serviceaccount", "default", "-n", namespace)
    assert is_allowed(server, namespace, "late")
    variable = {"name": "T", "valueFrom": {"secretKeyRef": {"name": "late", "key": "token"}}}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "early", "namespace": namespace},
        "spec": {"containers": [{"name": "app", "image": "app", "env": [variable]}]},
    }  # fmt: skip
    plane.do("create", "-f", "-", stdin=pod)
    put_secret(plane, "late", namespace)
    done = run_command("scan", "--kubeconfig", str(plane.folder / "kubeconfig"), "-n", namespace)
    assert done.returncode == 1, done.stderr
    assert re.search(r"early\b.*\n?.*legacy-token-reference", done.stdout), done.stdout


class Interrupted:
    """A transport to a real API server, which forgets what it was between the first and the second request."""

    def __init__(self, plane, folder, made="made-meanwhile") -> None:
        self._plane = plane
        self._made = made
        self._connection = ApiClient(plane.folder / "kubeconfig", folder)
        self.queries = []
        self.watch = self._connection.watch

    def get(self, path, query, accept) -> bytes:
        self.queries.append(dict(query))
        if len(self.queries) == 2:
            self._plane.do("create", "namespace", self._made)
            self._plane.compact()
            self._plane.kill()
            self._plane.start()
        return self._connection.get(path, query, accept)


def test_list_whose_page_expired_is_read_whole(plane, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("webhook.cluster.reflector.PAGE_SIZE", 2)
    index, failures = StateStore(ClusterState(), lambda _: None), []
    transport = Interrupted(plane, tmp_path)

    def heard() -> None:
        reflector.stop()

    reflector = Reflector(NAMESPACES, index.namespaces, transport, SyncCallbacks(heard, failures.append))
    reflector.run()
    assert [("limit" in query, "continue" in query) for query in transport.queries] == [
        (True, False), (True, True), (False, False),
    ]  # fmt: skip
    assert {"default", "kube-system", "made-meanwhile"} <= set(index.namespaces._known)
    assert failures == []


def test_scan_list_whose_page_expired_continues(plane, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("webhook.cluster.listing.PAGE_SIZE", 2)
    for name in ("scanned-a", "scanned-b", "scanned-c"):
        plane.do("create", "namespace", name)
    transport = Interrupted(plane, tmp_path, "zz-made-meanwhile")
    names = [obj.metadata.name for obj in list_objects(NAMESPACES, transport)]
    there = plane.do("get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert sorted(names) == sorted(there)
    [_, refused, again, *_] = [query.get("continue") for query in transport.queries]
    assert refused
    assert again
    assert refused != again
