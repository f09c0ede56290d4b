"""Installing and uninstalling while pods are created: at no moment is one refused for want of somebody to ask."""

import base64
import contextlib
import copy
import json
import threading
from itertools import groupby
from pathlib import Path

import pytest
from kubernetes import client, config

from tests.control_plane.live import live
from tests.control_plane.plane import own_plane
from tests.manifests.rendering import CHECKOUT, INSTALLATIONS, UNINSTALL, render
from tests.serving import eventually

CONFIGURATIONS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
UNTOUCHED, CAPPED = 3607, 3600
POD = {"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "app", "image": "app"}]}}


@pytest.fixture
def plane(tmp_path):
    """Return a control plane of this test's own: a namespace that is deleted stays half there without a controller."""
    folder = tmp_path / "plane"
    folder.mkdir()
    with own_plane(folder) as running:
        running.do("create", "namespace", "demo")
        running.do("create", "serviceaccount", "default", "-n", "demo")
        yield running


class Creating(threading.Thread):
    """Creates one pod after another; `lifetimes` are those of the tokens that Kubernetes mounted, in seconds."""

    def __init__(self, plane):
        super().__init__()
        self._pods = client.CoreV1Api(config.new_client_from_config(str(plane.folder / "kubeconfig")))
        self._over = threading.Event()
        self.lifetimes = []
        self.refusals = []

    def run(self):
        while not self._over.is_set():
            try:
                made = self._pods.create_namespaced_pod("demo", POD)
            except client.ApiException as error:
                self.refusals.append(error.body)
            else:
                sources = made.spec.volumes[0].projected.sources
                self.lifetimes += [item.service_account_token.expiration_seconds for item in sources[:1]]

    def stop(self):
        self._over.set()
        self.join()
        self._pods.api_client.close()


@contextlib.contextmanager
def creating(plane, threads):
    running = [Creating(plane) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield running
    finally:
        for thread in running:
            thread.stop()


def called_at(server):
    """Return the webhook configurations, calling a server on the loopback in place of the Service."""
    authority = Path(server.log.split("--cacert ")[1].split()[0])
    bundle = base64.b64encode(authority.read_bytes()).decode()
    items = copy.deepcopy([obj for obj in render(INSTALLATIONS[0]) if obj["kind"] in CONFIGURATIONS])
    for webhook in (webhook for item in items for webhook in item["webhooks"]):
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {"url": f"https://{server.address}{path}", "caBundle": bundle}
    return {"apiVersion": "v1", "kind": "List", "items": items}


def test_two_step_installation_and_uninstall_refuse_no_pod(plane, tmp_path) -> None:
    plane.do("apply", "-k", str(CHECKOUT / INSTALLATIONS[0]), "-l", "app.kubernetes.io/component!=webhooks")
    with live(plane, tmp_path / "run") as server, creating(plane, threads=3) as loops:
        eventually(lambda: all(loop.lifetimes[-1:] == [UNTOUCHED] for loop in loops))
        plane.do("apply", "-f", "-", stdin=called_at(server))
        eventually(lambda: all(loop.lifetimes[-1] == CAPPED for loop in loops))
        plane.do("delete", "-k", str(CHECKOUT / UNINSTALL), "--ignore-not-found", "--wait=false")  # there is no probe
        eventually(lambda: all(loop.lifetimes[-1] == UNTOUCHED for loop in loops))  # until then the pods answer on
        server.stop()
        seen = [len(loop.lifetimes) for loop in loops]
        eventually(lambda: all(len(loop.lifetimes) > count + 10 for loop, count in zip(loops, seen, strict=True)))
    for loop in loops:
        assert loop.refusals == []
        assert [lifetime for lifetime, _ in groupby(loop.lifetimes)] == [UNTOUCHED, CAPPED, UNTOUCHED]
    assert deleted_by_kubectl(plane)[:2] == ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"]
    assert deleted_by_kubectl(plane)[-3:] == ["services", "namespaces", "namespaces"]
    assert len(deleted_by_kubectl(plane)) == len(render(UNINSTALL))


def deleted_by_kubectl(plane):
    """Return the resources that were deleted, in their order, by the API server's audit log."""
    events = [json.loads(line) for line in plane.audit.splitlines()]
    done = [event for event in events if (event["verb"], event["stage"]) == ("delete", "ResponseComplete")]
    return [event["objectRef"]["resource"] for event in done if event["user"]["username"] == "admin"]
