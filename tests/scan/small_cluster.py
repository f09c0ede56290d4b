"""Clusters in small, for scans without any API server."""

import datetime as dt
import json
from typing import Any

import msgspec

from tests.policies import HEAD
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.token_objects import CSIDriver
from webhook.scan.api_types import (
    Job,
    LegacyTokenSecret,
    LivePod,
    ReplicaSet,
    RollingWorkload,
    ScannedAccount,
    ScannedCronJob,
    TemplateOwner,
)
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.options import ScanOptions
from webhook.scan.owners import OwnerKey, TemplateRevision
from webhook.scan.rbac import Binding, Role
from webhook.scan.report import ScanReport
from webhook.scan.scanner import Scanner

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
VAULT = "https://vault.example.com"
AT = "/var/run/secrets/kubernetes.io/serviceaccount"
INJECT = f"inject: [{{name: vault, audience: '{VAULT}', mountPath: /vault}}]\n"
Object = dict[str, Any]


def policy(text: str = "") -> Policy:
    document = read_policy((HEAD + text).encode())
    assert isinstance(document, Policy), document
    return document


def read(kind: type, what: Object) -> Any:
    return msgspec.json.decode(json.dumps(what), type=kind)


def meta(name: str, **more: Any) -> Object:
    return {"name": name, "namespace": "shop", **more}


def of(kind: str, name: str, group: str = "apps") -> Object:
    version = f"{group}/v1" if group else "v1"
    return {"ownerReferences": [{"apiVersion": version, "kind": kind, "name": name, "controller": True}]}


def spec(volumes: list[Object] | None = None, container: Object | None = None, **more: Any) -> Object:
    return {"volumes": volumes or [], "containers": [{"name": "main", **(container or {})}], **more}


def api_token(expiration: int = 3607, name: str = "kube-api-access-abcde") -> Object:
    sources = [{"serviceAccountToken": {"path": "token", "expirationSeconds": expiration}}, {"configMap": {}}]
    return {"name": name, "projected": {"sources": sources}}


def token(name: str = "token", **fields: Any) -> Object:
    return {"name": name, "projected": {"sources": [{"serviceAccountToken": {"path": "token", **fields}}]}}


def mounts(*pairs: tuple[str, str]) -> Object:
    return {"volumeMounts": [{"name": name, "mountPath": path} for name, path in pairs]}


def live(expiration: int = 3607, **more: Any) -> Object:
    """Return the spec of a pod as Kubernetes leaves it: with the API server token mounted."""
    return spec([api_token(expiration)], mounts(("kube-api-access-abcde", AT)), **more)


def named_secret(secret: str) -> Object:
    return {"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}]}


def secret(
    name: str, created: str = "2026-01-01T00:00:00Z", account: str = "app", namespace: str = "shop", **labels: str
) -> LegacyTokenSecret:
    spelled = {f"kubernetes.io/legacy-token-{key.replace('_', '-')}": value for key, value in labels.items()}
    annotations = {"kubernetes.io/service-account.name": account}
    return read(LegacyTokenSecret, {
        "metadata": {
            "name": name, "namespace": namespace, "creationTimestamp": created,
            "labels": spelled, "annotations": annotations,
        },
    })  # fmt: skip


def account(name: str, **more: Any) -> ScannedAccount:
    return read(ScannedAccount, {"metadata": meta(name), **more})


def csi_driver(name: str, *requests: Object) -> CSIDriver:
    return read(CSIDriver, {"metadata": {"name": name}, "spec": {"tokenRequests": list(requests)}})


def role(name: str, *rules: Object, namespace: str = "") -> Role:
    """Return a role, by default a ClusterRole that reads pods."""
    default = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    return read(Role, {"metadata": {"name": name, "namespace": namespace or None}, "rules": rules or [default]})


def binding(*subjects: Object, to: str = "ClusterRole/viewer", **metadata: Any) -> Binding:
    """Return a binding of the role `to`: a RoleBinding if the metadata has a namespace."""
    kind, _, name = to.partition("/")
    return read(Binding, {"metadata": metadata, "subjects": list(subjects), "roleRef": {"kind": kind, "name": name}})


class Small:
    """A cluster that is put together piece by piece and then scanned."""

    def __init__(self, *secrets: LegacyTokenSecret, accounts: tuple[ScannedAccount, ...] = ()) -> None:
        self.snapshot = ClusterSnapshot(
            namespaces={"shop": frozenset()}, secrets=list(secrets), accounts=list(accounts)
        )
        self.snapshot.tracked_since = dt.date(2026, 2, 1)
        self._makers: list[tuple[tuple[str, str], Any, bool]] = []
        self._pods: list[LivePod] = []

    def deployment(self, name: str, template: Object, replicas: int = 1, **more: Any) -> "Small":
        """Add a Deployment and the ReplicaSet that it has made; `more` is what its template has besides its spec."""
        made = {"template": {"spec": template, **more}}
        self._makers.append(
            (("apps", "Deployment"), read(TemplateOwner, {"metadata": meta(name), "spec": made}), False)
        )
        owned = {"metadata": meta(f"{name}-1", **of("Deployment", name)), "spec": {**made, "replicas": replicas}}
        self._makers.append((("apps", "ReplicaSet"), read(ReplicaSet, owned), True))
        return self

    def stateful_set(self, name: str, template: Object, revision: str) -> "Small":
        """Add a StatefulSet; pods of another revision are due for replacement."""
        manifest = {"metadata": meta(name), "spec": {"template": template}, "status": {"updateRevision": revision}}
        self._makers.append((("apps", "StatefulSet"), read(RollingWorkload, manifest), True))
        return self

    def cron_job(self, name: str, template: Object) -> "Small":
        job = {"spec": {"template": {"spec": template}}}
        cronjob = read(ScannedCronJob, {"metadata": meta(name), "spec": {"jobTemplate": job}})
        self._makers.append((("batch", "CronJob"), cronjob, False))
        owned = read(Job, {"metadata": meta(f"{name}-1", **of("CronJob", name, "batch")), **job})
        self._makers.append((("batch", "Job"), owned, True))
        return self

    def pod(self, name: str, spec: Object, phase: str = "Running", **metadata: Any) -> "Small":
        self._pods.append(read(LivePod, {"metadata": meta(name, **metadata), "spec": spec, "status": {"phase": phase}}))
        return self

    def scan(self, text: str = "", simulated: str | None = None, **options: Any) -> ScanReport:
        new = policy(simulated) if simulated is not None else None
        scan = Scanner(
            ScanOptions(policy(text), "policy.yaml", NOW, "https://api", new, "new.yaml", **options), self.snapshot
        )
        for kind, workload, makes_pods in self._makers:
            owner = OwnerKey(workload.metadata.namespace or "", *kind, workload.metadata.name or "")
            label = workload.revision_label if isinstance(workload, RollingWorkload) else None
            revision = TemplateRevision(workload.template, label)
            scan.add_workload(owner, workload.metadata.controller, revision, creates_pods=makes_pods)
        for pod in self._pods:
            scan.add_pod(pod)
        return scan.report()
