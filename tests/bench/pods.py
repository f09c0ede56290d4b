"""What a pod's creation costs on a real API server: with no webhook, with tokenguard, with a policy in CEL."""

import base64
import contextlib
import http.client
import json
import ssl
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.table import Row
from tests.control_plane.plane import ControlPlane
from tests.serving import OBJECTS, POLICY, eventually, serve

PODS = 200
_LABEL = "bench"
_PLAIN, _WEBHOOKS, _CEL = "plain", "webhooks", "cel"
_VOLUMES = "object.spec.?volumes.orValue([])"
_EVERY_TOKEN = (
    f"{_VOLUMES}.filter(v, has(v.projected)).all(v, "
    "v.projected.?sources.orValue([]).filter(s, has(s.serviceAccountToken)).all(s, "
)
EXPRESSIONS = (
    f"{_EVERY_TOKEN}v.name.startsWith('kube-api-access-') || has(s.serviceAccountToken.audience)))",
    f"{_EVERY_TOKEN}s.serviceAccountToken.?expirationSeconds.orValue(3600) <= 3607))",
    f"{_VOLUMES}.all(v, !has(v.hostPath) || !v.hostPath.path.startsWith('/var/lib/kubelet'))",
    "object.spec.containers.all(c, c.?volumeMounts.orValue([]).all(m, !has(m.subPath)))",
)
"""What CEL can say of the rules: no type of a Secret can be looked up in it, and nothing is repaired or injected."""

FORBIDDEN = {"volumes": [{"name": "all", "hostPath": {"path": "/var/lib/kubelet/pods"}}]}


def latencies(plane: ControlPlane, folder: Path, count: int = PODS) -> Iterator[Row]:
    """Yield the median and the 99th percentile of creating a pod, in turn in each of three namespaces."""
    for name in (_PLAIN, _WEBHOOKS, _CEL):
        labels = {_LABEL: name}
        plane.do("apply", "-f", "-", stdin={
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
        })  # fmt: skip
        plane.do("create", "serviceaccount", "default", "-n", name)
    with _guarded(plane, folder), contextlib.closing(_connection(plane)) as connection:

        def create(namespace: str) -> float:
            began = time.perf_counter()
            status, body = _create(plane, connection, namespace)
            assert status == 201, body
            return time.perf_counter() - began

        eventually(lambda: b"tokenguard-vault" in _create(plane, connection, _WEBHOOKS)[1])
        eventually(lambda: _create(plane, connection, _CEL, FORBIDDEN)[0] == 422)  # it takes a moment to hold
        taken: dict[str, list[float]] = {_PLAIN: [], _WEBHOOKS: [], _CEL: []}
        for _ in range(count):
            for namespace, seconds in taken.items():
                seconds.append(create(namespace) * 1000)
    for name, of in (("p50", statistics.median), ("p99", lambda all_: statistics.quantiles(all_, n=100)[98])):
        none = of(taken[_PLAIN])
        for namespace, said in ((_WEBHOOKS, "tokenguard's two webhooks"), (_CEL, "ValidatingAdmissionPolicy")):
            some = of(taken[namespace])
            yield Row(f"pod creation, {name} ms: {said}", f"{some:.2f}", f"{none:.2f} (neither)", some / none)


@contextlib.contextmanager
def _guarded(plane: ControlPlane, folder: Path) -> Iterator[None]:
    folder.mkdir()
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "objects.yaml").write_text(OBJECTS)
    flags = ["--policy", str(folder / "policy.yaml"), "--objects", str(folder / "objects.yaml")]
    with serve(folder, *flags, "--audit-log", str(folder / "audit.log")) as server:
        authority = server.log.split("--cacert ")[1].split()[0]
        bundle = base64.b64encode(Path(authority).read_bytes()).decode()
        for phase, kind in (("mutate", "Mutating"), ("validate", "Validating")):
            plane.do("apply", "-f", "-", stdin=_configuration(kind, phase, f"https://{server.address}", bundle))
        for key in _policy():
            plane.do("apply", "-f", "-", stdin=key)
        yield
        for kind in ("Mutating", "Validating"):
            plane.do("delete", f"{kind}WebhookConfiguration".lower(), "tokenguard")


def _rule() -> dict[str, Any]:
    return {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}


def _configuration(kind: str, phase: str, url: str, bundle: str) -> dict[str, Any]:
    webhook = {
        "name": f"pods.{phase}.tokenguard.svc",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "clientConfig": {"url": f"{url}/{phase}", "caBundle": bundle},
        "namespaceSelector": {"matchLabels": {_LABEL: _WEBHOOKS}},
        "rules": [_rule()],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": "tokenguard"},
        "webhooks": [webhook],
    }


def _policy() -> Iterator[dict[str, Any]]:
    api = "admissionregistration.k8s.io/v1"
    yield {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "tokens"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [_rule()]},
            "validations": [{"expression": expression} for expression in EXPRESSIONS],
        },
    }
    yield {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "tokens"},
        "spec": {
            "policyName": "tokens",
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {_LABEL: _CEL}}},
        },
    }


def _connection(plane: ControlPlane) -> http.client.HTTPSConnection:
    host = plane.url.removeprefix("https://")
    trust = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
    return http.client.HTTPSConnection(host, context=trust, timeout=30)


def _create(
    plane: ControlPlane, connection: http.client.HTTPSConnection, namespace: str, more: dict[str, Any] | None = None
) -> tuple[int, bytes]:
    token = (plane.folder / "tokens.csv").read_text().partition(",")[0]
    spec = {"containers": [{"name": "app", "image": "registry.example.com/app"}], **(more or {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "app-"}, "spec": spec}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", f"/api/v1/namespaces/{namespace}/pods", json.dumps(pod), headers)
    reply = connection.getresponse()
    return reply.status, reply.read()
