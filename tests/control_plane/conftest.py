import base64
import contextlib
import zlib
from pathlib import Path

import pytest

from tests.control_plane import live as cluster
from tests.control_plane.plane import own_plane
from tests.end_to_end.cluster import namespace_with
from tests.serving import POLICY, eventually, serve

GUARDED_BY = f"""\
{POLICY}  serviceAccounts: [app]
overrides:
- namespaces: [lenient]
  rules: {{legacy-token-reference: patch, api-token-automount: patch}}
"""
INTERNAL_AUDIENCE = "https://api.internal"
OBJECTS = """\
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata: {name: app-token, namespace: demo, annotations: {kubernetes.io/service-account.name: app}}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata: {name: app-token, namespace: lenient, annotations: {kubernetes.io/service-account.name: app}}
"""


def rule(group, resources, operations):
    return {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "resources": resources,
        "operations": operations,
        "scope": "Namespaced",
    }


def configuration(kind, webhook):
    common = {"admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 10, "failurePolicy": "Fail"}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": "tokenguard"},
        "webhooks": [{**common, **webhook}],
    }


def clients(server, path, **where):
    """Return the `clientConfig` for one of its paths: at its address, or where else it is said to be."""
    bundle = Path(server.log.split("--cacert ")[1].split()[0]).read_bytes()
    return {"caBundle": base64.b64encode(bundle).decode(), **(where or {"url": f"https://{server.address}{path}"})}


@contextlib.contextmanager
def registered_webhook(plane, name, client):
    """Register a webhook for policies in ConfigMaps; yield a function that returns the stderr of creating one."""
    webhook = {
        "name": "policy.validate.tokenguard.svc", "clientConfig": client,
        "rules": [rule("", ["configmaps"], ["CREATE"])],
        "objectSelector": {"matchLabels": {"tokenguard/policy": "true"}},
    }  # fmt: skip
    labelled = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "token-policy", "namespace": "default", "labels": {"tokenguard/policy": "true"},
    }, "data": {"policy.yaml": "modee: warn"}}  # fmt: skip
    made = configuration("ValidatingWebhookConfiguration", webhook)
    plane.do("apply", "-f", "-", stdin={**made, "metadata": {"name": name}})
    try:
        yield lambda: plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=labelled).stderr
    finally:
        plane.do("delete", "validatingwebhookconfiguration", name)


@pytest.fixture(scope="session")
def plane(tmp_path_factory):
    with own_plane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(scope="session")
def unguarded_plane(tmp_path_factory):
    """Return a control plane with controllers, a node and two namespaces, in which nothing is sent to tokenguard."""
    with own_plane(tmp_path_factory.mktemp("unguarded-plane")) as running:
        running.start_controllers()
        running.create(*namespace_with("demo", "app"), *namespace_with("shop"))
        assert running.node
        yield running


@pytest.fixture(scope="session")
def internal_plane(tmp_path_factory):
    """Return a control plane whose API server has an audience of its own, with tokenguard's account in it."""
    with own_plane(tmp_path_factory.mktemp("internal-plane"), f"--api-audiences={INTERNAL_AUDIENCE}") as running:
        cluster.install(running)
        yield running


@pytest.fixture(scope="session")
def guarded_plane(plane, tmp_path_factory):
    """Return the control plane with tokenguard in front of it, and the running webhook."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "policy.yaml").write_text(GUARDED_BY)
    (folder / "objects.yaml").write_text(OBJECTS)
    plane.create(*namespace_with("demo", "app", "default"), *namespace_with("lenient", "app", "default"))
    flags = ["--policy", str(folder / "policy.yaml"), "--objects", str(folder / "objects.yaml"), "--audit-level", "all"]
    with serve(folder, *flags) as server:
        plane.do("apply", "-f", "-", stdin=configuration("MutatingWebhookConfiguration", {
            "name": "pods.mutate.tokenguard.svc",
            "clientConfig": clients(server, "/mutate"),
            "reinvocationPolicy": "IfNeeded",
            "rules": [rule("", ["pods"], ["CREATE"])],
        }))  # fmt: skip
        plane.do("apply", "-f", "-", stdin=configuration("ValidatingWebhookConfiguration", {
            "name": "all.validate.tokenguard.svc",
            "clientConfig": clients(server, "/validate"),
            "rules": [
                rule("", ["pods", "secrets", "serviceaccounts/token"], ["CREATE"]),
                rule("", ["pods/ephemeralcontainers"], ["UPDATE"]),
                rule("apps", ["deployments"], ["CREATE", "UPDATE"]),
            ],
        }))  # fmt: skip
        eventually(lambda: "denied the request" in plane.kubectl("create", "token", "app", "--duration=48h").stderr)
        yield plane, server


@pytest.fixture(scope="session")
def live_plane(tmp_path_factory):
    """Return a control plane for the tests of the live state: it is killed and started again."""
    with own_plane(tmp_path_factory.mktemp("live-plane")) as running:
        cluster.install(running)
        yield running


@pytest.fixture(scope="session")
def live_server(live_plane, tmp_path_factory):
    """Return one server with two workers, for the tests that leave it running."""
    cluster.put_policy(live_plane, cluster.POLICY)
    with cluster.live(live_plane, tmp_path_factory.mktemp("following")) as server:
        yield server


@pytest.fixture
def server(live_plane, live_server):
    """Return it with the default policy in force."""
    cluster.put_policy(live_plane, cluster.POLICY)
    eventually(lambda: cluster.revisions(live_server) == {cluster.revision(cluster.POLICY)})
    return live_server


@pytest.fixture
def namespace(live_plane, request):
    """Return a namespace for one test alone."""
    name = f"t{zlib.crc32(request.node.name.encode())}"
    live_plane.do("create", "namespace", name)
    return name
