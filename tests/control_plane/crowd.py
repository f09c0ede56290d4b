"""A control plane full of pods: teams with their workloads, the mistakes that people make, and tokens from before.

Nothing runs: there are no nodes and no controllers, so what a controller would make is made here as it would make it.
"""

import http.client
import json
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.control_plane.plane import ControlPlane
from tests.end_to_end.cluster import LEGACY, Object, token_volume

TEAMS = 54
SECRETS = 10
SIZES = {"Deployment": 20, "StatefulSet": 6, "DaemonSet": 4, "CronJob": 4, "Pod": 6}
"""How many pods of each kind a team has."""
GROUPS = {
    "Deployment": "apps",
    "ReplicaSet": "apps",
    "StatefulSet": "apps",
    "DaemonSet": "apps",
    "CronJob": "batch",
    "Job": "batch",
}
VAULT = "https://vault.example.com"
OTHER = "https://elsewhere.example.org"
IMAGE = "registry.k8s.io/pause:3.10"
HELD = "/var/run/secrets/tokens"


def named(secret: str) -> Object:
    return {"name": "T", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}


def holding(secret: str) -> Object:
    return {"name": "held", "secret": {"secretName": secret}}


def mounted(volume: str, path: str = HELD, **more: str) -> Object:
    return {"volumeMounts": [{"name": volume, "mountPath": path, **more}]}


def spec_of(account: str = "app", container: Object | None = None, **more: Any) -> Object:
    return {
        "serviceAccountName": account,
        "containers": [{"name": "main", "image": IMAGE, **(container or {})}],
        **more,
    }


SPECS: tuple[Object, ...] = (
    spec_of(),
    spec_of("quiet"),
    spec_of(automountServiceAccountToken=False),
    spec_of("robot", {"env": [named("token-0")]}),
    spec_of("robot", {"envFrom": [{"secretRef": {"name": "token-1"}}]}),
    spec_of("app", mounted("held"), volumes=[holding("token-2")]),
    spec_of("app", mounted("held"), volumes=[holding("token-3")]),  # another account's
    spec_of("app", mounted("token"), volumes=[token_volume()]),
    spec_of("app", mounted("token"), volumes=[token_volume(audience=VAULT, expirationSeconds=86400)]),
    spec_of("app", mounted("token"), volumes=[token_volume(expirationSeconds=3607, audience="https://kubernetes.default.svc")]),
    spec_of("app", mounted("token"), volumes=[token_volume(audience=OTHER, expirationSeconds=600)]),
    spec_of("app", mounted("token", subPath="token"), volumes=[token_volume(audience=VAULT)]),
    spec_of("agent", mounted("host"), volumes=[{"name": "host", "hostPath": {"path": "/var/lib/kubelet"}}]),
    spec_of("app", mounted("data", f"{HELD}/vault"), volumes=[{"name": "data", "emptyDir": {}}]),
    spec_of(
        "robot",
        {"env": [named("token-0")], **mounted("token")},
        volumes=[token_volume(audience=OTHER, expirationSeconds=86400)],
    ),
    spec_of("default", initContainers=[{"name": "first", "image": IMAGE, "env": [named("token-4")]}]),
)  # fmt: skip
"""What a pod may look like, from sound to not."""


@dataclass
class Crowd:
    """What was made: every pod as its author wrote it, or as its controller makes it, by namespace and name."""

    plane: ControlPlane
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    pods: dict[tuple[str, str], Object] = field(default_factory=dict)
    _local: threading.local = field(default_factory=threading.local)
    _connections: list[http.client.HTTPSConnection] = field(default_factory=list)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(6))

    def close(self) -> None:
        """End the threads and their connections."""
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()

    def fill(self, teams: Iterable[int]) -> None:
        """Make teams; there may be a webhook by now that refuses some of their pods."""
        list(self._pool.map(self._team, teams))

    def again(self) -> dict[tuple[str, str], tuple[int, Object, list[str]]]:
        """Create every pod again, without storing it: the status, the answer, and what was warned of."""
        return dict(zip(self.pods, self._pool.map(self._again, self.pods.values()), strict=True))

    def ask(self, method: str, path: str, body: Object | None = None) -> tuple[int, Object, list[str]]:
        """Send a request as the admin, over a connection of the thread's own."""
        if not hasattr(self._local, "connection"):
            trust = ssl.create_default_context(cafile=str(self.plane.folder / "ca.crt"))
            self._local.connection = http.client.HTTPSConnection(
                urlsplit(self.plane.url).netloc, context=trust, timeout=60
            )
            self._connections.append(self._local.connection)
            self._local.token = (self.plane.folder / "tokens.csv").read_text().partition(",")[0]
        headers = {"Authorization": f"Bearer {self._local.token}", "Content-Type": "application/json"}
        self._local.connection.request(method, path, json.dumps(body), headers)
        reply = self._local.connection.getresponse()
        return reply.status, json.loads(reply.read()), reply.headers.get_all("Warning") or []

    def make(self, what: Object) -> Object:
        """Create an object, and return it as it was stored."""
        status, stored, _ = self.ask("POST", path_of(what), what)
        assert status == 201, stored
        return stored

    def make_all(self, objects: Iterable[Object]) -> None:
        """Create objects, several at a time."""
        list(self._pool.map(self.make, objects))

    def _again(self, pod: Object) -> tuple[int, Object, list[str]]:
        meta = pod["metadata"]
        return self.ask(
            "POST", f"{path_of(pod)}?dryRun=All", pod | {"metadata": meta | {"name": f"{meta['name']}-again"}}
        )

    def _team(self, number: int) -> None:
        namespace = f"team-{number:02}"
        labels = {"tier": "backend"} if number % 5 == 0 else {}
        self.make({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
        for account in ("default", "app", "robot", "quiet", "agent"):
            self.make(account_of(namespace, account))
        for secret in secrets_of(namespace):
            self.make(secret)
        self.make(binding(namespace))
        for position, (kind, count) in enumerate(self.sizes.items()):
            spec = SPECS[(3 * number + position) % len(SPECS)]
            self._workload(namespace, kind, count, spec)

    def _workload(self, namespace: str, kind: str, count: int, spec: Object) -> None:
        if kind == "Pod":
            for number in range(count):
                self._pod(namespace, f"bare-{number}", SPECS[(number + int(namespace[-2:])) % len(SPECS)], {}, None)
            return
        name = kind.lower()
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": spec}
        top = self.make(workload(namespace, kind, name, template, count))
        direct = top
        if kind == "Deployment":
            old = SPECS[3]  # what it was before, without a pod
            self.make(workload(namespace, "ReplicaSet", f"{name}-old", template | {"spec": old}, 0, owner=top))
            direct = self.make(workload(namespace, "ReplicaSet", f"{name}-new", template, count, owner=top))
        elif kind == "CronJob":
            template["spec"] = template["spec"] | {"restartPolicy": "Never"}
            direct = self.make(workload(namespace, "Job", f"{name}-1", template, count, owner=top))
        labels = direct["spec"]["template"]["metadata"].get("labels", {})
        if kind == "DaemonSet":
            labels = labels | {"pod-template-generation": "1"}
        for number in range(count):
            self._pod(namespace, f"{direct['metadata']['name']}-{number}", template["spec"], labels, direct)

    def _pod(self, namespace: str, name: str, spec: Object, labels: Object, owner: Object | None) -> None:
        meta = {"name": name, "namespace": namespace, "labels": labels}
        if owner:
            meta["ownerReferences"] = [reference(owner)]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        status, answer, _ = self.ask("POST", path_of(pod), pod)
        assert status == 201 or "tokenguard" in answer["message"], answer
        if status == 201:
            self.pods[namespace, name] = pod


def path_of(what: Object) -> str:
    """Return where objects of a kind are made."""
    kind = what["kind"]
    plural = {"Namespace": "namespaces"}.get(kind, f"{kind.lower()}s")
    if kind == "Namespace":
        return "/api/v1/namespaces"
    version = what["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{what['metadata']['namespace']}/{plural}"


def reference(owner: Object) -> Object:
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }


def workload(
    namespace: str, kind: str, name: str, template: Object, count: int, *, owner: Object | None = None
) -> Object:
    labels = template["metadata"]["labels"]
    spec: Object = {"template": template, "selector": {"matchLabels": labels}, "replicas": count}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    elif kind == "DaemonSet":
        del spec["replicas"]
    elif kind in ("Job", "CronJob"):
        job = {"template": {**template, "spec": template["spec"] | {"restartPolicy": "Never"}}}
        spec = job if kind == "Job" else {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}}
    meta = {"name": name, "namespace": namespace} | ({"ownerReferences": [reference(owner)]} if owner else {})
    return {"apiVersion": f"{GROUPS[kind]}/v1", "kind": kind, "metadata": meta, "spec": spec}


def account_of(namespace: str, name: str) -> Object:
    account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    if name == "quiet":
        account["automountServiceAccountToken"] = False
    if name == "robot":
        account["secrets"] = [{"name": "token-0"}, {"name": "token-5"}]
    return account


def secrets_of(namespace: str) -> Iterator[Object]:
    """Yield legacy Secrets: some used, some marked invalid, some neither. Their tokens are made up."""
    for number in range(SECRETS):
        labels = {}
        if number in (0, 6):
            labels["kubernetes.io/legacy-token-last-used"] = f"2026-11-{10 + number}"
        if number == 7:
            labels["kubernetes.io/legacy-token-invalid-since"] = "2026-11-01"
        account = "app" if number in (2, 8) else "robot"
        meta = {"name": f"token-{number}", "namespace": namespace, "labels": labels,
                "annotations": {"kubernetes.io/service-account.name": account}}  # fmt: skip
        yield {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": LEGACY,
            "metadata": meta,
            "stringData": {"token": "made-up-token"},
        }
    other = {"name": "database", "namespace": namespace}
    yield {"apiVersion": "v1", "kind": "Secret", "metadata": other, "stringData": {"password": "made-up-password"}}


def binding(namespace: str) -> Object:
    """Return what lets the team's robot read; the others may nothing."""
    api = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "robot", "namespace": namespace},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "system:aggregate-to-view"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}],
    }
