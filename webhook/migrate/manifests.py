"""Manifests as a cluster to scan: each workload as if it were created from its manifest, without any pods."""

import datetime as dt
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from webhook.check.input_files import InputProblem
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
    """The report about manifests, what it is based on, and what returns a workload.

    `problems` are about workloads that are left out, because another manifest has the same name.
    """

    report: ScanReport
    snapshot: ClusterSnapshot
    read: ReadObject
    problems: tuple[InputProblem, ...]


def scan_manifests(
    checked: CheckReport, policy: Policy, now: dt.datetime, namespace: str, api_audiences: tuple[str, ...] = ()
) -> ScannedManifests:
    """Scan the manifests that were checked.

    `namespace` is that of objects that name none, `api_audiences` are the API server's, if they are given.
    """
    cluster = cluster_of((found.manifest for found in checked.evaluations), namespace=namespace)
    snapshot = _snapshot(cluster)
    snapshot.given_audiences = api_audiences
    workloads: dict[OwnerKey, ManifestEvaluation] = {}
    templates: dict[OwnerKey, Pod] = {}
    accounts: dict[OwnerKey, ServiceAccount] = {}
    problems: list[InputProblem] = []
    for evaluation in checked.evaluations:
        found = _object(evaluation, policy)
        key = OwnerKey(evaluation.namespace, *evaluation.manifest.group_kind, evaluation.manifest.name)
        if isinstance(found, ServiceAccount):
            accounts[key] = _merged(key, found, accounts.get(key))
        elif (template := found if isinstance(found, Pod) else getattr(found, "template", None)) is None:
            continue
        elif key not in workloads:
            workloads[key] = evaluation
            templates[key] = template
        elif template != templates[key]:
            problems.append(_differs(evaluation, workloads[key]))
    snapshot.accounts += accounts.values()
    scanner = Scanner(ScanOptions(policy, _ORIGIN, now, _ORIGIN), snapshot)
    for owner, template in templates.items():
        scanner.add_workload(owner, None, TemplateRevision(template), creates_pods=True)

    def read(workload: ScannedWorkload) -> bytes | None:
        found = workloads.get(OwnerKey(workload.namespace, workload.group, workload.kind, workload.name))
        return found.manifest.raw if found else None

    return ScannedManifests(scanner.report(), snapshot, read, tuple(problems))


def _merged(key: OwnerKey, account: ServiceAccount, other: ServiceAccount | None) -> ServiceAccount:
    """Return an account with the Secrets that any manifest of it lists, each once."""
    found = [account] if other is None else [other, account]
    return replace(
        account,
        given_metadata=ObjectMeta(name=key.name, namespace=key.namespace),
        secrets=[*dict.fromkeys(entry for manifest in found for entry in manifest.secrets or ())],
        image_pull_secrets=[*dict.fromkeys(entry for manifest in found for entry in manifest.image_pull_secrets or ())],
    )


def _differs(evaluation: ManifestEvaluation, first: ManifestEvaluation) -> InputProblem:
    message = (
        f"{evaluation.full_title} is left out: {first.file}:{first.manifest.line} has another one of this name;"
        " migrate them one by one, each into its own --output-dir"
    )
    return InputProblem(evaluation.file_path, message, evaluation.manifest.line, evaluation.manifest.document)


def _snapshot(cluster: ClusterState) -> ClusterSnapshot:
    metadata = [
        {"name": name, "namespace": namespace, "annotations": {LEGACY_TOKEN_ACCOUNT: account}}
        for namespace, secrets in cluster.legacy_tokens.items()
        for name, account in secrets.items()
    ]
    secrets = msgspec.convert([{"metadata": meta} for meta in metadata], list[LegacyTokenSecret])
    return ClusterSnapshot(namespaces=dict(cluster.namespaces), secrets=secrets, permissions=None)


def _object(evaluation: ManifestEvaluation, policy: Policy) -> object:
    """Return the decoded object, None if it is of no kind that can refer to a legacy Secret."""
    if evaluation.subject not in (Subject.POD, Subject.TEMPLATE, Subject.SERVICE_ACCOUNT):
        return None
    manifest = evaluation.manifest
    request = manifest_request(
        manifest.group_kind, manifest.raw, namespace=evaluation.namespace, workloads=policy.workloads
    )
    return request.object
