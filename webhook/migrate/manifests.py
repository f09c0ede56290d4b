"""Manifests as a cluster to scan: each workload as if it were created from its manifest, without any pods."""

import datetime as dt
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from webhook.check.report import CheckReport, ManifestEvaluation
from webhook.core.admission_request import manifest_request
from webhook.core.cluster_state import ClusterState
from webhook.core.k8s_types import ObjectMeta, Pod
from webhook.core.kinds import Subject
from webhook.core.manifests import cluster_of
from webhook.core.policy.model import Policy
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, ServiceAccount
from webhook.migrate.plan import ReadObject
from webhook.scan.api_types import LegacyTokenSecret
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.options import ScanOptions
from webhook.scan.owners import OwnerKey, TemplateRevision
from webhook.scan.report import ScannedWorkload, ScanReport
from webhook.scan.scanner import Scanner

_ORIGIN = "manifests"


class ScannedManifests(NamedTuple):
    """The report about manifests, what it is based on, and what returns a workload."""

    report: ScanReport
    snapshot: ClusterSnapshot
    read: ReadObject


def scan_manifests(
    checked: CheckReport, policy: Policy, now: dt.datetime, namespace: str, api_audiences: tuple[str, ...] = ()
) -> ScannedManifests:
    """Scan the manifests that were checked.

    `namespace` is that of objects that name none, `api_audiences` are the API server's, if they are given.
    """
    cluster = cluster_of((found.manifest for found in checked.evaluations), namespace=namespace)
    snapshot = _snapshot(cluster)
    snapshot.given_audiences = api_audiences
    workloads: dict[OwnerKey, bytes] = {}
    templates: list[tuple[OwnerKey, Pod]] = []
    for evaluation in checked.evaluations:
        if evaluation.subject in (Subject.POD, Subject.TEMPLATE):
            manifest = evaluation.manifest
            owner = OwnerKey(evaluation.namespace, *manifest.group_kind, manifest.name)
            found = _object(evaluation, policy)
            template = found if isinstance(found, Pod) else getattr(found, "template", None)
            if template is not None:
                workloads[owner] = manifest.raw
                templates.append((owner, template))
        elif evaluation.subject is Subject.SERVICE_ACCOUNT:
            account = _object(evaluation, policy)
            if isinstance(account, ServiceAccount):
                meta = ObjectMeta(name=evaluation.manifest.name, namespace=evaluation.namespace)
                snapshot.accounts.append(replace(account, given_metadata=meta))
    scanner = Scanner(ScanOptions(policy, _ORIGIN, now, _ORIGIN), snapshot)
    for owner, template in templates:
        scanner.add_workload(owner, None, TemplateRevision(template), creates_pods=True)

    def read(workload: ScannedWorkload) -> bytes | None:
        return workloads.get(OwnerKey(workload.namespace, workload.group, workload.kind, workload.name))

    return ScannedManifests(scanner.report(), snapshot, read)


def _snapshot(cluster: ClusterState) -> ClusterSnapshot:
    metadata = [
        {"name": name, "namespace": namespace, "annotations": {LEGACY_TOKEN_ACCOUNT: account}}
        for namespace, secrets in cluster.legacy_tokens.items()
        for name, account in secrets.items()
    ]
    secrets = msgspec.convert([{"metadata": meta} for meta in metadata], list[LegacyTokenSecret])
    return ClusterSnapshot(namespaces=dict(cluster.namespaces), secrets=secrets, permissions=None)


def _object(evaluation: ManifestEvaluation, policy: Policy) -> object:
    manifest = evaluation.manifest
    request = manifest_request(
        manifest.group_kind, manifest.raw, namespace=evaluation.namespace, workloads=policy.workloads
    )
    return request.object
