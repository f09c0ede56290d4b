"""What has to change in a workload, as a plan and a patch file, and what else its owner needs to know."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from webhook.core.admission_request import manifest_request
from webhook.core.custom_workloads import GroupKind
from webhook.core.json_patch import Edit, Put, Remove, prefix_edits
from webhook.core.k8s_types import Pod
from webhook.core.kinds import KINDS
from webhook.migrate.patches import json_patch, strategic_merge_patch
from webhook.migrate.plan_builder import Json, TemplatePlan, value_at
from webhook.migrate.template_plan import plan_template
from webhook.scan.api_types import ScannedAccount, pull_secrets
from webhook.scan.evaluator import PolicyEvaluator
from webhook.scan.owners import object_title
from webhook.scan.report import ScannedWorkload

_DEPLOYED_BY = (
    ("annotations", "meta.helm.sh/release-name", "Helm release"),
    ("annotations", "argocd.argoproj.io/tracking-id", "Argo CD application"),
    ("labels", "argocd.argoproj.io/instance", "Argo CD application"),
    ("labels", "helm.toolkit.fluxcd.io/name", "Flux HelmRelease"),
    ("labels", "kustomize.toolkit.fluxcd.io/name", "Flux Kustomization"),
    ("labels", "olm.owner", "operator"),
)
"""By which label or annotation a tool marks what it deploys; its value begins with the name of the deployment."""


_MAX_FILE_NAME = 200
"""Characters; Linux allows 255 bytes, of which atomic writes and the suffix take some."""


class PatchFile(Struct, frozen=True):
    """A file with a patch of one object: a strategic merge patch (a mapping), or a JSON Patch (a list)."""

    name: str
    group: str
    version: str
    kind: str
    object_name: str
    document: Any

    @property
    def is_json_patch(self) -> bool:
        """Whether it is a JSON Patch."""
        return isinstance(self.document, list)


class SeenReference(Struct, frozen=True):
    """A field of running pods that names a legacy Secret, and that the template does not have."""

    path: str
    secret: str
    pods: tuple[str, ...]


class WorkloadMigration(Struct, frozen=True):
    """What has to change in a workload.

    `is_known` says that its template could be read. `created_by` is the object that created it and overwrites it,
    `deployed_by` the tool that deployed it. `seen` are the references of running pods that the template does not have.
    `updates_on_delete`: its pods are only replaced when somebody deletes them.
    """

    namespace: str
    group: str
    kind: str
    name: str
    account: str
    secrets: tuple[str, ...]
    plan: TemplatePlan
    patch: PatchFile | None
    seen: tuple[SeenReference, ...] = ()
    created_by: str = ""
    deployed_by: str = ""
    updates_on_delete: bool = False
    is_known: bool = True

    @property
    def title(self) -> str:
        """Kind and name, with the group of a custom kind."""
        return object_title(self.group, self.kind, self.name)


class AccountMigration(Struct, frozen=True):
    """A ServiceAccount that lists legacy Secrets: under `secrets`, or for pulling images."""

    namespace: str
    name: str
    listed: tuple[str, ...]
    pulled: tuple[str, ...]
    patch: PatchFile


def plan_workload(
    workload: ScannedWorkload, raw: bytes | None, evaluator: PolicyEvaluator, custom: Mapping[GroupKind, str]
) -> WorkloadMigration | None:
    """Return what has to change in a workload, None if nothing names a legacy Secret.

    `raw` is the object as JSON, None if it could not be read; `custom` are the policy's `workloads`.
    """
    group_kind = workload.group, workload.kind
    namespace = workload.namespace
    request = manifest_request(group_kind, raw or b"null", namespace=namespace, workloads=custom)
    manifest = request.object if raw else None
    pointer = request.template_pointer
    template = manifest if isinstance(manifest, Pod) else getattr(manifest, "template", None)
    value: Json = msgspec.json.decode(raw) if raw else {}
    plan = TemplatePlan()
    account = workload.groups[0].account if workload.groups else ""
    if template is not None:
        context = evaluator.view(namespace, template)
        plan, account = plan_template(context, value_at(value, pointer) or {}, pointer), context.account
    named = {change.secret for change in plan.changes} | {left.secret for left in plan.manual}
    seen = tuple(_seen(workload, named, is_known=template is not None))
    secrets = tuple(sorted(named | {reference.secret for reference in seen}))
    if not secrets:
        return None
    metadata = value.get("metadata") or {}
    created_by = _created_by(metadata)
    is_patched = bool(plan.edits) and not created_by
    return WorkloadMigration(
        namespace,
        *group_kind,
        workload.name,
        account,
        secrets,
        plan,
        _patch_file(workload, value, pointer, plan.edits) if is_patched else None,
        seen,
        created_by,
        _deployed_by(metadata),
        ((value.get("spec") or {}).get("updateStrategy") or {}).get("type") == "OnDelete",
        template is not None,
    )


def plan_account(account: ScannedAccount, legacy: Mapping[str, str]) -> AccountMigration | None:
    """Return what has to change in an account, None if it lists no legacy Secret."""
    meta = account.metadata
    listed, pulled = account.secrets or (), pull_secrets(account.image_pull_secrets)
    edits: list[Edit] = [Remove(f"/secrets/{number}") for number, entry in enumerate(listed) if entry.name in legacy]
    remaining = [{"name": secret} for secret in pulled if secret not in legacy]
    if len(remaining) < len(pulled):
        edits.append(Put("/imagePullSecrets", remaining, replaces=True) if remaining else Remove("/imagePullSecrets"))
    if not edits:
        return None
    original = {"secrets": [{"name": entry.name} for entry in listed]}
    name = meta.name or ""
    document = {**_identity("v1", "ServiceAccount", name), **strategic_merge_patch(original, edits)}
    patch = PatchFile(_file_name("", "ServiceAccount", name), "", "v1", "ServiceAccount", name, document)
    return AccountMigration(
        meta.namespace or "", name, _named((entry.name for entry in listed), legacy), _named(pulled, legacy), patch
    )


def _named(secrets: Iterable[str | None], legacy: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(secret for secret in secrets if secret and secret in legacy)


def _seen(workload: ScannedWorkload, named: set[str], *, is_known: bool) -> Iterator[SeenReference]:
    """Yield the references of running pods to Secrets that the template does not name."""
    pods: dict[tuple[str, str], list[str]] = {}
    for group in workload.pods:
        for token in group.tokens:
            if token.secret and token.secret not in named:
                pods.setdefault((token.path, token.secret), []).extend(group.names)
    if not is_known and workload.next_pod:
        for token in workload.next_pod.tokens:
            if token.secret:
                pods.setdefault((token.path, token.secret), [])
    for (path, secret), names in sorted(pods.items()):
        yield SeenReference(path, secret, tuple(sorted(names)))


def _patch_file(workload: ScannedWorkload, value: Json, pointer: str, edits: tuple[Edit, ...]) -> PatchFile:
    group, kind, name = workload.group, workload.kind, workload.name
    if kind == "Pod" and value_at(value, "/spec/ephemeralContainers"):
        edits = (*edits, Remove("/spec/ephemeralContainers"))  # no pod can be created with one
    placed = prefix_edits(pointer, edits)
    api_version = str(value.get("apiVersion") or workload.api_version)
    document: Any
    if (group, kind) in KINDS:  # Kubernetes' own, whose lists have merge keys
        document = {**_identity(api_version, kind, name), **strategic_merge_patch(value, placed)}
    else:
        document = json_patch(value, placed)
    version = api_version.rpartition("/")[2]
    return PatchFile(_file_name(group, kind, name), group, version, kind, name, document)


def _identity(api_version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}


def _file_name(group: str, kind: str, name: str) -> str:
    """Return `KIND-NAME.yaml`, with the group of a custom kind; a manifest's name may contain any character."""
    return f"{safe_name(f'{resource_name(group, kind)}-{name}')}.yaml"


def resource_name(group: str, kind: str) -> str:
    """Return a kind as kubectl takes it: `deployment`, `rollout.argoproj.io`."""
    return kind.lower() if (group, kind) in KINDS or not group else f"{kind.lower()}.{group}"


def safe_name(name: str) -> str:
    """Return a name of a file or folder: a manifest's names may contain any character, and file names are shorter."""
    safe = re.sub(r"[^A-Za-z0-9.-]|\A\.", "_", name)
    if len(safe) <= _MAX_FILE_NAME:
        return safe
    return f"{safe[:_MAX_FILE_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _created_by(metadata: Json) -> str:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            group, _, version = str(owner.get("apiVersion")).rpartition("/")
            return object_title(group if version else "", str(owner.get("kind")), str(owner.get("name")))
    return ""


def _deployed_by(metadata: Json) -> str:
    for field, key, tool in _DEPLOYED_BY:
        value = (metadata.get(field) or {}).get(key)
        if isinstance(value, str) and value:
            return f"{tool} {value.partition(':')[0]}"
    return ""
