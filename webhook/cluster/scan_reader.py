"""What a scan reads of a cluster: lists, page by page, and single namespaces; of Secrets only metadata.

A list that the API server refuses becomes a gap in the report. Without the pods there is nothing to report: the scan
fails. If namespaces are given by name, each is listed separately, so permissions in them suffice; of the whole cluster
only the namespaces' labels, the roles and the bindings are read then, which may be refused.
"""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from webhook.cluster.admission_history import MUTATING_WEBHOOK, WEBHOOK, policy_object
from webhook.cluster.api_types import BY_NAME, NAMESPACES, ApiObject, ConfigMap, Resource, config_map
from webhook.cluster.custom_kinds import CustomKind, find_custom_kinds
from webhook.cluster.listing import list_objects, read_object
from webhook.cluster.permission_reader import REFUSED, read_permissions
from webhook.cluster.transport import NOT_FOUND, ApiError, Transport
from webhook.core.cluster_state import DEFAULT_NAMESPACE
from webhook.core.custom_workloads import WELL_KNOWN, read_custom_workload
from webhook.core.k8s_types import ObjectMeta
from webhook.core.policy.configmap import KEY, LABEL
from webhook.core.selectors import labels
from webhook.core.token_objects import LEGACY_TOKEN_TYPE, CSIDriver
from webhook.core.webhook_namespaces import WebhookScopes
from webhook.scan.api_types import (
    LAST_USED,
    TRACKED_SINCE,
    TRACKING,
    TRACKING_TITLE,
    Job,
    LegacyTokenSecret,
    LivePod,
    ReplicaSet,
    RollingWorkload,
    ScannedAccount,
    ScannedCronJob,
    ScannedPod,
    TemplateOwner,
)
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.legacy_secrets import parse_day
from webhook.scan.owners import OwnerIdentity, OwnerKey, TemplateRevision, owner_kind
from webhook.scan.pod_admission import AdmissionHistory
from webhook.scan.report import UnreadResource
from webhook.scan.scanner import Scanner

T = TypeVar("T")
_UNAVAILABLE = 503
_ISSUER = "/.well-known/openid-configuration"

SECRETS = Resource(
    "secrets", "/api/v1/secrets", LegacyTokenSecret, f"type={LEGACY_TOKEN_TYPE}", metadata_only=True
)  # fmt: skip
USED_TOKENS = Resource(
    "secrets of other types", "/api/v1/secrets", LegacyTokenSecret, f"type!={LEGACY_TOKEN_TYPE}", metadata_only=True,
    label_selector=LAST_USED,
)  # fmt: skip
"""Secrets of another type that contain a legacy token: the API server labels them when it is used."""
LABELED_POLICIES = Resource("configmaps", "/api/v1/configmaps", ApiObject, metadata_only=True, label_selector=LABEL)
ACCOUNTS = Resource("serviceaccounts", "/api/v1/serviceaccounts", ScannedAccount)
CSI_DRIVERS = Resource("csidrivers", "/apis/storage.k8s.io/v1/csidrivers", CSIDriver)
PODS = Resource("pods", "/api/v1/pods", LivePod)


class _WorkloadKind(NamedTuple):
    """A kind with a pod template; `creates_pods` as in `Scanner.add_workload`."""

    group: str
    kind: str
    item_type: type[Any]
    creates_pods: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def resource(self) -> Resource[Any]:
        plural = f"{self.kind.lower()}s"
        return Resource(plural, f"/{'apis' if self.group else 'api'}/{self.api_version}/{plural}", self.item_type)


WORKLOAD_KINDS = (
    _WorkloadKind("apps", "Deployment", TemplateOwner, creates_pods=False),
    _WorkloadKind("apps", "ReplicaSet", ReplicaSet, creates_pods=True),
    _WorkloadKind("apps", "StatefulSet", RollingWorkload, creates_pods=True),
    _WorkloadKind("apps", "DaemonSet", RollingWorkload, creates_pods=True),
    _WorkloadKind("", "ReplicationController", ReplicaSet, creates_pods=True),
    _WorkloadKind("batch", "CronJob", ScannedCronJob, creates_pods=False),
    _WorkloadKind("batch", "Job", Job, creates_pods=True),
)


class _Discovery(msgspec.Struct):
    issuer: str = ""


class ScanReader:
    """Reads a cluster once."""

    def __init__(
        self,
        transport: Transport,
        progress: Callable[[str], None],
        namespaces: tuple[str, ...] = (),
        secret_type: type[LegacyTokenSecret] = LegacyTokenSecret,
    ) -> None:
        """Read these namespaces, or all if none are given; `progress` gets how far it is.

        Secrets are decoded as `secret_type`, for a caller that needs more of their metadata.
        """
        self._transport = transport
        self._progress = progress
        self._namespaces = dict.fromkeys(namespaces)
        self._secret_type = secret_type
        self._unread: list[UnreadResource] = []
        self._policy_changed: dt.datetime | None = None

    def policy(self, namespace: str, name: str) -> str | None:
        """Return the policy document in a ConfigMap, or None if that does not exist. Raises `ApiError`."""
        configmap = next(list_objects(policy_object(namespace, name), self._transport, self._progress), None)
        if configmap is None:
            return None
        self._policy_changed = configmap.changed
        return (configmap.data or {}).get(KEY, "")

    def policy_names(self) -> list[str]:
        """Return `NAMESPACE/NAME` of the ConfigMaps labelled as policies; none if they cannot be listed."""
        try:
            found = [*list_objects(LABELED_POLICIES, self._transport, self._progress)]
        except ApiError:
            return []
        return sorted(f"{configmap.metadata.namespace}/{configmap.metadata.name}" for configmap in found)

    def snapshot(
        self, own_namespace: str = DEFAULT_NAMESPACE, given_audiences: tuple[str, ...] = ()
    ) -> ClusterSnapshot:
        """Read what evaluations need before workloads and pods. Raises `ApiError`."""
        snapshot = ClusterSnapshot(
            own_namespace=own_namespace,
            given_audiences=given_audiences,
            token_audiences=self._transport.token_audiences(),
            unread=self._unread,
        )
        wrong = "outcomes may be wrong"
        self._read_namespaces(snapshot, f"overrides and injections by namespaceLabels; {wrong}")
        before = len(self._unread)
        missing = f"legacy tokens and their uses; {wrong}"
        snapshot.secrets += self._list(self._decoded(SECRETS), missing, affects_decisions=True)
        snapshot.secrets_read = len(self._unread) - before < len(self._parts(SECRETS))
        if len(self._unread) == before:
            missing = "Secrets of other types that contain a used legacy token"
            snapshot.used_copies += self._list(self._decoded(USED_TOKENS), missing)
        missing = f"accounts that mount no token or list a Secret; {wrong}"
        snapshot.accounts += map(_reduced, self._list(ACCOUNTS, missing, affects_decisions=True))
        if not self._namespaces:  # CSIDrivers have none
            snapshot.csi_drivers += self._list(CSI_DRIVERS, "tokens that CSI drivers get", namespaced=False)
        snapshot.permissions = read_permissions(
            self._list, self._transport, self._unread, in_namespaces=bool(self._namespaces)
        )
        snapshot.tracked_since = self._read_tracked_since()
        snapshot.history = self._read_history()
        snapshot.issuer = self._read_issuer()
        return snapshot

    def fill(self, scanner: Scanner) -> None:
        """Add workloads, and then the pods, to a scan. Raises `ApiError`."""
        for workload in WORKLOAD_KINDS:
            missing = (
                f"templates of {workload.kind}s: their pods are evaluated as they run, and only legacy Secrets marked"
                " invalid are safe to delete, because a template may name the others"
            )
            for item in self._list(workload.resource, missing, affects_decisions=True, may_name_secrets=True):
                meta = item.metadata
                idle = isinstance(item, ReplicaSet) and item.replicas == 0
                finished = isinstance(item, Job) and item.finished
                if finished and not meta.controller:
                    continue  # nothing creates it again
                label = item.revision_label if isinstance(item, RollingWorkload) else None
                scanner.add_workload(
                    OwnerKey(meta.namespace or "", workload.group, workload.kind, meta.name or ""),
                    meta.controller,
                    TemplateRevision(item.template, label),
                    creates_pods=workload.creates_pods and not (idle or finished),
                    identity=OwnerIdentity(workload.api_version, meta.uid or ""),
                )
        self._add_custom_workloads(scanner)
        for pods in self._parts(PODS):
            try:
                for pod in list_objects(pods, self._transport, self._progress):
                    scanner.add_pod(pod)
            except ApiError as error:
                hint = f"; {_hint(pods)}" if error.status == 403 else ""
                raise ApiError(error.status, f"{error}{hint}") from None

    def _add_custom_workloads(self, scanner: Scanner) -> None:
        """Add the objects of custom kinds with a pod template. Some pods have one as their controller."""
        missing = (
            "pod templates of custom kinds: their pods are evaluated as they run, workloads without pods not at all"
        )
        kinds: list[CustomKind] = []
        with self._gap(
            "custom kinds", missing, "kubectl api-resources", affects_decisions=True, may_name_secrets=True,
            statuses=REFUSED | {_UNAVAILABLE},
        ):  # fmt: skip
            kinds += find_custom_kinds(scanner.custom_kinds, self._transport)
        known = {kind.group_kind for kind in kinds}
        for kind in kinds:
            for raw in self._list(kind.resource, missing, affects_decisions=True, may_name_secrets=True):
                try:
                    workload = read_custom_workload(raw, kind.pointers, ScannedPod)
                except (msgspec.DecodeError, RecursionError):
                    continue  # its controller cannot create a pod from such a template either
                meta = workload.metadata
                if workload.given_template is None or owner_kind(meta.controller) in known:
                    continue
                owner = OwnerKey(meta.namespace or "", *kind.group_kind, meta.name or "")
                identity = OwnerIdentity(kind.api_version, meta.uid or "")
                revision = TemplateRevision(workload.template)
                scanner.add_workload(owner, meta.controller, revision, creates_pods=True, identity=identity)

    def _read_namespaces(self, snapshot: ClusterSnapshot, missing: str) -> None:
        """Read all namespaces, or the given ones if the API server refuses the list."""
        try:
            for namespace in list_objects(NAMESPACES, self._transport, self._progress):
                snapshot.namespaces[namespace.metadata.name] = labels(namespace.metadata.labels)
        except ApiError as error:
            if error.status not in REFUSED:
                raise
            snapshot.namespaces.clear()
            snapshot.all_namespaces = False
            if not self._namespaces:
                self._unread.append(
                    UnreadResource("namespaces", str(error), missing, _hint(NAMESPACES), affects_decisions=True)
                )
        if not snapshot.all_namespaces:
            for name in self._namespaces:
                self._read_namespace(name, snapshot, missing)

    def _read_namespace(self, name: str, snapshot: ClusterSnapshot, missing: str) -> None:
        hint = f"kubectl auth can-i get namespaces/{name} -n {name}; manifests/scanner grants it"
        with self._gap(f"namespace {name}", missing, hint, affects_decisions=True, statuses=frozenset({403})):
            try:
                namespace = read_object(NAMESPACES, name, self._transport)
            except ApiError as error:
                message = f"--namespace {name}: no such namespace" if error.status == NOT_FOUND else str(error)
                raise ApiError(error.status, message) from None
            snapshot.namespaces[name] = labels(namespace.metadata.labels)

    def _parts(self, resource: Resource[T]) -> list[Resource[T]]:
        """Return the resource in each of the given namespaces, or in all."""
        return [resource.within(name) for name in self._namespaces] or [resource]

    def _list(
        self,
        resource: Resource[T],
        missing: str,
        *,
        namespaced: bool = True,
        affects_decisions: bool = False,
        may_name_secrets: bool = False,
    ) -> Iterator[T]:
        for part in self._parts(resource) if namespaced else [resource]:
            with self._gap(part.name, missing, _hint(part), affects_decisions, may_name_secrets):
                yield from list_objects(part, self._transport, self._progress)

    @contextlib.contextmanager
    def _gap(  # noqa: PLR0913, PLR0917 - the fields of the report's entry
        self,
        name: str,
        missing: str,
        hint: str,
        affects_decisions: bool = False,  # noqa: FBT001, FBT002 - as above
        may_name_secrets: bool = False,  # noqa: FBT001, FBT002 - as above
        statuses: frozenset[int] = REFUSED,
    ) -> Iterator[None]:
        """Report what is missing, instead of failing, if the API server refuses a request in the block."""
        try:
            yield
        except ApiError as error:
            if error.status not in statuses:
                raise
            self._unread.append(UnreadResource(name, str(error), missing, hint, affects_decisions, may_name_secrets))

    def _decoded(self, secrets: Resource[LegacyTokenSecret]) -> Resource[LegacyTokenSecret]:
        return dataclasses.replace(secrets, item_type=self._secret_type)

    def _config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return next(list_objects(config_map(namespace, name), self._transport, self._progress), None)

    def _read_tracked_since(self) -> dt.date | None:
        namespace, name = TRACKING
        missing = "since when uses of legacy tokens are recorded: no Secret counts as unused"
        configmap: ConfigMap | None = None
        hint = f"kubectl auth can-i list configmaps/{name} -n {namespace}"
        with self._gap(TRACKING_TITLE, missing, hint):
            configmap = self._config_map(namespace, name)
        return parse_day((configmap.data or {}).get(TRACKED_SINCE)) if configmap else None

    def _read_history(self) -> AdmissionHistory:
        before = len(self._unread)
        missing = "whether pods were admitted without evaluation, and which namespaces are not evaluated"
        webhook = next(iter([*self._list(WEBHOOK, missing, namespaced=False)]), None)
        is_known = len(self._unread) == before
        missing = "whether the API server can call the mutating webhook"
        mutating = self._list(MUTATING_WEBHOOK, missing, namespaced=False) if webhook else ()
        return AdmissionHistory(
            webhook.metadata.creation_timestamp if webhook else None,
            self._policy_changed,
            webhook.scopes if webhook else WebhookScopes(),
            is_known=is_known,
            lacks_ca_bundle=any(
                configuration.lacks_ca_bundle for configuration in (*filter(None, [webhook]), *mutating)
            ),
        )

    def _read_issuer(self) -> str:
        issuer = ""
        missing = "the issuer among assumed audiences of the API server"
        with (
            self._gap("the API server's issuer", missing, f"kubectl get --raw {_ISSUER}"),
            contextlib.suppress(msgspec.DecodeError, RecursionError),
        ):
            answer = self._transport.get(_ISSUER, {}, "application/json")
            issuer = msgspec.json.decode(answer, type=_Discovery).issuer
        return issuer


def _hint(resource: Resource[Any]) -> str:
    """Return the command that shows whether one may list something, and what grants it."""
    plural = resource.path.rpartition("/")[2]
    group = resource.path.split("/")[2] if resource.path.startswith("/apis/") else ""
    name = f"{plural}.{group}" if group else plural
    if resource.field_selector.startswith(BY_NAME):
        name += f"/{resource.field_selector.removeprefix(BY_NAME)}"
    where = f"-n {resource.namespace}" if resource.namespace else "--all-namespaces"
    is_granted = "." not in group or group.endswith(".k8s.io") or any(group == known for known, _ in WELL_KNOWN)
    grant = "manifests/scanner grants it" if is_granted else "add a rule for it to the ClusterRole of manifests/scanner"
    return f"kubectl auth can-i list {name} {where}; {grant}"


def _reduced(account: ScannedAccount) -> ScannedAccount:
    """Return an account with only the metadata that is needed, to save memory."""
    meta = account.metadata
    return replace(account, given_metadata=ObjectMeta(name=meta.name, namespace=meta.namespace, uid=meta.uid))
