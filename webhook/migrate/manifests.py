"""Manifests as a cluster to scan: each workload as if it were created from its manifest, without any pods."""

import datetime as dt
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from webhook.check.input_files import InputProblem
from webhook.check.report import CheckReport, ManifestEvaluation
from webhook.core.admission_request import manifest_request
from webhook.core.custom_workloads import read_custom_workload
from webhook.core.k8s_types import ObjectMeta, Pod
from webhook.core.kinds import Subject
from webhook.core.manifests import cluster_of
from webhook.core.policy.model import Policy
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE
from webhook.migrate.plan import ReadObject
from webhook.scan.api_types import TRACKED_SINCE, TRACKING, LegacyTokenSecret, ScannedAccount, ScannedPod, pull_secrets
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.legacy_secrets import parse_day
from webhook.scan.options import ScanOptions
from webhook.scan.owners import OwnerKey, TemplateRevision
from webhook.scan.report import ScannedWorkload, ScanReport
from webhook.scan.scanner import Scanner

_OBJECTS = frozenset({Subject.POD, Subject.TEMPLATE, Subject.SERVICE_ACCOUNT})
"""What may refer to a legacy Secret."""


class _ManifestSecret(LegacyTokenSecret, frozen=True):
    """A legacy Secret in a manifest, if it has this type."""

    type: str | None = None


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] | None = None


class ScannedManifests(NamedTuple):
    """The report about manifests, what it is based on, and what returns a workload.

    `problems` are about workloads that are left out, because another manifest has the same name.
    """

    report: ScanReport
    snapshot: ClusterSnapshot
    read: ReadObject
    problems: tuple[InputProblem, ...]


def unplaced(checked: CheckReport) -> tuple[ManifestEvaluation, ...]:
    """Return the objects that name no namespace, of those that a migration is about."""
    candidates = (evaluation for evaluation in checked.evaluations if not evaluation.manifest.namespace)
    return tuple(evaluation for evaluation in candidates if evaluation.subject in _OBJECTS or _secret(evaluation))


def scan_manifests(
    checked: CheckReport, options: ScanOptions, namespace: str, api_audiences: tuple[str, ...] = ()
) -> ScannedManifests:
    """Scan the manifests that were checked.

    `namespace` is that of objects that name none, `api_audiences` are the API server's, if they are given.
    """
    snapshot = _snapshot(checked, namespace)
    snapshot.given_audiences = api_audiences
    workloads: dict[OwnerKey, ManifestEvaluation] = {}
    templates: dict[OwnerKey, Pod] = {}
    accounts: dict[OwnerKey, ScannedAccount] = {}
    problems: list[InputProblem] = []
    for evaluation in checked.evaluations:
        parsed = _object(evaluation, options.policy)
        key = OwnerKey(evaluation.namespace, *evaluation.manifest.group_kind, evaluation.manifest.name)
        if isinstance(parsed, ScannedAccount):
            accounts[key] = _merged(key, parsed, accounts.get(key))
        elif parsed is None:
            continue
        elif key not in workloads:
            workloads[key] = evaluation
            templates[key] = parsed
        elif parsed != templates[key]:
            problems.append(_differs(evaluation, workloads[key]))
    snapshot.accounts += accounts.values()
    scanner = Scanner(options, snapshot)
    for owner, template in templates.items():
        scanner.add_workload(owner, None, TemplateRevision(template), creates_pods=True)

    def read(workload: ScannedWorkload) -> bytes | None:
        evaluation = workloads.get(OwnerKey(workload.namespace, workload.group, workload.kind, workload.name))
        return evaluation.manifest.raw if evaluation else None

    return ScannedManifests(scanner.report(), snapshot, read, tuple(problems))


def _merged(key: OwnerKey, account: ScannedAccount, other: ScannedAccount | None) -> ScannedAccount:
    """Return an account with the Secrets that any manifest of it lists, each once."""
    manifests = [account] if other is None else [other, account]
    pulled = (secret for manifest in manifests for secret in pull_secrets(manifest.image_pull_secrets))
    return replace(
        account,
        given_metadata=ObjectMeta(name=key.name, namespace=key.namespace),
        secrets=[*dict.fromkeys(entry for manifest in manifests for entry in manifest.secrets or ())],
        image_pull_secrets=[{"name": secret} for secret in dict.fromkeys(pulled)],
    )


def _differs(evaluation: ManifestEvaluation, first: ManifestEvaluation) -> InputProblem:
    message = (
        f"{evaluation.full_title} is left out: {first.file}:{first.manifest.line} has another one of this name;"
        " migrate them one by one, each into its own --output-dir"
    )
    return InputProblem(evaluation.file_path, message, evaluation.manifest.line, evaluation.manifest.document)


def _snapshot(checked: CheckReport, namespace: str) -> ClusterSnapshot:
    """Return the Secrets and Namespaces among the manifests, and what a cluster has recorded about uses."""
    cluster = cluster_of((evaluation.manifest for evaluation in checked.evaluations), namespace=namespace)
    recorded: dict[tuple[str, str], LegacyTokenSecret] = {}
    tracked_since = None
    for evaluation in checked.evaluations:
        key = evaluation.namespace, evaluation.manifest.name
        if evaluation.manifest.group_kind == ("", "ConfigMap") and key == TRACKING:
            tracked_since = _tracked_since(evaluation.manifest.raw)
        elif (secret := _secret(evaluation)) and (secret.metadata.creation_timestamp or key not in recorded):
            recorded[key] = secret
    secrets = [
        _with_identity(recorded.get((within, name)), within, name, account)
        for within, accounts in cluster.legacy_tokens.items()
        for name, account in accounts.items()
    ]
    return ClusterSnapshot(
        namespaces=dict(cluster.namespaces), secrets=secrets, permissions=None, tracked_since=tracked_since
    )


def _secret(evaluation: ManifestEvaluation) -> LegacyTokenSecret | None:
    """Return a legacy Secret, without its data; None if it is another object, or has metadata of another form."""
    if evaluation.subject is not Subject.SECRET:
        return None
    try:
        secret = msgspec.json.decode(evaluation.manifest.raw, type=_ManifestSecret)
    except (msgspec.DecodeError, RecursionError):
        return None
    return secret if secret.type == LEGACY_TOKEN_TYPE else None


def _with_identity(recorded: LegacyTokenSecret | None, namespace: str, name: str, account: str) -> LegacyTokenSecret:
    """Return a Secret with what is recorded about its use, if anything is."""
    given = {"name": name, "namespace": namespace, "annotations": {LEGACY_TOKEN_ACCOUNT: account}}
    secret = msgspec.convert({"metadata": given}, LegacyTokenSecret)
    if recorded is None:
        return secret
    used = recorded.metadata
    return replace(
        secret, metadata=replace(secret.metadata, creation_timestamp=used.creation_timestamp, labels=used.labels)
    )


def _tracked_since(raw: bytes) -> dt.date | None:
    try:
        data = msgspec.json.decode(raw, type=_ConfigMap).data
    except (msgspec.DecodeError, RecursionError):
        return None
    return parse_day((data or {}).get(TRACKED_SINCE))


def _object(evaluation: ManifestEvaluation, policy: Policy) -> Pod | ScannedAccount | None:
    """Return the account or the pod template, None if there is none or it cannot be read."""
    if evaluation.subject not in _OBJECTS:
        return None
    manifest = evaluation.manifest
    request = manifest_request(
        manifest.group_kind, manifest.raw, namespace=evaluation.namespace, workloads=policy.workloads
    )
    if request.problem:
        return None
    if request.subject is Subject.SERVICE_ACCOUNT:
        return msgspec.json.decode(manifest.raw, type=ScannedAccount)
    return read_custom_workload(manifest.raw, (request.template_pointer,), ScannedPod).given_template
