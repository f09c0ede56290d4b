"""What a scan reads of a cluster: lists, page by page, and single namespaces; of Secrets no more than metadata.

A list that is refused leaves a gap that the report tells of. Without the pods there is nothing to tell: it fails.
Where namespaces are given by name, what is in each is listed by itself, so that rights in it suffice; of the whole
cluster only the namespaces' labels and the bindings are read then, which may be refused.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from webhook.cluster.api_types import NAMESPACES, ConfigMap, Resource, config_map
from webhook.cluster.custom_kinds import find_custom_kinds
from webhook.cluster.listing import list_objects, read_object
from webhook.cluster.transport import ApiError, Transport
from webhook.core.custom_workloads import WELL_KNOWN, read_custom_workload
from webhook.core.k8s_types import CronJob, ObjectMeta, Workload
from webhook.core.policy.configmap import KEY
from webhook.core.selectors import labels
from webhook.core.token_objects import LEGACY_TOKEN_TYPE, CSIDriver, ServiceAccount
from webhook.scan.api_types import (
    LAST_USED,
    TRACKED_SINCE,
    TRACKING,
    Binding,
    Job,
    LegacyTokenSecret,
    Pod,
    ReplicaSet,
    RollingWorkload,
)
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.legacy_secrets import parse_day
from webhook.scan.owners import OwnerKey, TemplateRevision, owner_kind
from webhook.scan.report import UnreadResource
from webhook.scan.scanner import Scanner

Step = Callable[[str], None]
T = TypeVar("T")
_REFUSED = frozenset({403, 404})
_UNAVAILABLE = 503
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_ISSUER = "/.well-known/openid-configuration"

SECRETS = Resource(
    "secrets", "/api/v1/secrets", LegacyTokenSecret, f"type={LEGACY_TOKEN_TYPE}", metadata_only=True
)  # fmt: skip
USED_TOKENS = Resource(
    "secrets of other types", "/api/v1/secrets", LegacyTokenSecret, f"type!={LEGACY_TOKEN_TYPE}", metadata_only=True,
    label_selector=LAST_USED,
)  # fmt: skip
"""Secrets that hold a legacy token though they are of another type: the API server labels them when it is used."""
ACCOUNTS = Resource("serviceaccounts", "/api/v1/serviceaccounts", ServiceAccount)
BINDINGS = (
    Resource("rolebindings", f"{_RBAC}/rolebindings", Binding),
    Resource("clusterrolebindings", f"{_RBAC}/clusterrolebindings", Binding),
)
CSI_DRIVERS = Resource("csidrivers", "/apis/storage.k8s.io/v1/csidrivers", CSIDriver)
PODS = Resource("pods", "/api/v1/pods", Pod)


class _Maker(NamedTuple):
    """A kind that makes pods; `makes_pods` like `creates_pods` of `Scanner.add_workload`."""

    group: str
    kind: str
    decoded: type[Any]
    makes_pods: bool

    @property
    def resource(self) -> Resource[Any]:
        plural = f"{self.kind.lower()}s"
        return Resource(plural, f"/apis/{self.group}/v1/{plural}" if self.group else f"/api/v1/{plural}", self.decoded)


MAKERS = (
    _Maker("apps", "Deployment", Workload, makes_pods=False),
    _Maker("apps", "ReplicaSet", ReplicaSet, makes_pods=True),
    _Maker("apps", "StatefulSet", RollingWorkload, makes_pods=True),
    _Maker("apps", "DaemonSet", RollingWorkload, makes_pods=True),
    _Maker("", "ReplicationController", ReplicaSet, makes_pods=True),
    _Maker("batch", "CronJob", CronJob, makes_pods=False),
    _Maker("batch", "Job", Job, makes_pods=True),
)


class _Discovery(msgspec.Struct):
    issuer: str = ""


class ScanReader:
    """One reading of a cluster."""

    def __init__(self, transport: Transport, step: Step, namespaces: tuple[str, ...] = ()) -> None:
        """Take the cluster, what is told how far it is, and the names of the namespaces to read; none: all."""
        self._transport = transport
        self._step = step
        self._within = dict.fromkeys(namespaces)
        self._unread: list[UnreadResource] = []

    def policy(self, namespace: str, name: str) -> str | None:
        """Return the document in the cluster's own policy, or None where there is no such ConfigMap.

        Raises `ApiError`.
        """
        found = self._config_map(namespace, name)
        return None if found is None else (found.data or {}).get(KEY, "")

    def snapshot(self) -> ClusterSnapshot:
        """Read what evaluations need before workloads and pods. Raises `ApiError`."""
        known = ClusterSnapshot(unread=self._unread)
        wrong = "outcomes may be wrong"
        self._read_namespaces(known, f"overrides and injections by namespaceLabels; {wrong}")
        before = len(self._unread)
        known.secrets += self._list(self._parts(SECRETS), f"legacy tokens and their uses; {wrong}")
        if len(self._unread) == before:
            missing = "Secrets of other types that contain a used legacy token"
            known.used_copies += self._list(self._parts(USED_TOKENS), missing, affects_decisions=False)
        missing = f"accounts that mount no token or list a Secret; {wrong}"
        known.accounts += (_small(one) for one in self._list(self._parts(ACCOUNTS), missing))
        if not self._within:  # they have no namespace
            missing = "tokens that CSI drivers get"
            known.csi_drivers += self._list([CSI_DRIVERS], missing, affects_decisions=False)
        for resource in BINDINGS:
            missing = "accounts without RBAC permissions"
            before = len(self._unread)
            for binding in self._list([resource], missing, affects_decisions=False):
                if known.bindings:
                    known.bindings.add(binding)
            if len(self._unread) > before:
                known.bindings = None
        known.tracked_since = self._tracked_since()
        known.issuer = self._issuer()
        return known

    def fill(self, scanner: Scanner) -> None:
        """Hand what makes pods, and then the pods, to a scan. Raises `ApiError`."""
        for maker in MAKERS:
            missing = (
                f"templates of {maker.kind}s: their pods are evaluated as they run, and only legacy Secrets marked"
                " invalid are safe to delete, because a template may name the others"
            )
            for found in self._list(self._parts(maker.resource), missing, may_name_secrets=True):
                meta = found.metadata
                idle = isinstance(found, ReplicaSet) and found.replicas == 0
                finished = isinstance(found, Job) and found.finished
                if finished and not meta.controller:
                    continue  # nothing creates it again
                label = found.revision_label if isinstance(found, RollingWorkload) else None
                scanner.add_workload(
                    OwnerKey(meta.namespace or "", maker.group, maker.kind, meta.name or ""),
                    meta.controller,
                    TemplateRevision(found.template, label),
                    creates_pods=maker.makes_pods and not (idle or finished),
                )
        self._fill_custom(scanner)
        for pods in self._parts(PODS):
            try:
                for pod in list_objects(pods, self._transport, self._step):
                    scanner.add_pod(pod)
            except ApiError as error:
                hint = f"; {_hint(pods)}" if error.status == 403 else ""
                raise ApiError(error.status, f"{error}{hint}") from None

    def _fill_custom(self, scanner: Scanner) -> None:
        """Hand the objects of custom kinds with a pod template to a scan. The pods of some name them as controller."""
        missing = (
            "pod templates of custom kinds: their pods are evaluated as they run, workloads without pods not at all"
        )
        try:
            kinds = list(find_custom_kinds(scanner.custom_kinds, self._transport))
        except ApiError as error:
            if error.status not in _REFUSED | {_UNAVAILABLE}:
                raise
            self._unread.append(
                UnreadResource(
                    "custom kinds",
                    str(error),
                    missing,
                    "kubectl api-resources",
                    affects_decisions=True,
                    may_name_secrets=True,
                )
            )
            return
        known = {kind.group_kind for kind in kinds}
        for kind in kinds:
            for raw in self._list(self._parts(kind.resource), missing, may_name_secrets=True):
                try:
                    found = read_custom_workload(raw, kind.pointers)
                except (msgspec.DecodeError, RecursionError):
                    continue  # its template is none: its controller can't make a pod of it either
                meta = found.metadata
                if found.given_template is None or owner_kind(meta.controller) in known:
                    continue
                owner = OwnerKey(meta.namespace or "", *kind.group_kind, meta.name or "")
                scanner.add_workload(owner, meta.controller, TemplateRevision(found.template), creates_pods=True)

    def _read_namespaces(self, known: ClusterSnapshot, missing: str) -> None:
        """Read all namespaces, or those that were given where not all may be listed."""
        try:
            for found in list_objects(NAMESPACES, self._transport, self._step):
                known.namespaces[found.metadata.name] = labels(found.metadata.labels)
        except ApiError as error:
            if error.status not in _REFUSED:
                raise
            known.namespaces.clear()
            known.all_namespaces = False
            if self._within:
                for name in self._within:
                    self._read_namespace(name, known, missing)
            else:
                self._unread.append(
                    UnreadResource("namespaces", str(error), missing, _hint(NAMESPACES), affects_decisions=True)
                )

    def _read_namespace(self, name: str, known: ClusterSnapshot, missing: str) -> None:
        try:
            found = read_object(NAMESPACES, name, self._transport)
        except ApiError as error:
            if error.status == 404:
                raise ApiError(404, f"--namespace {name}: no such namespace") from None
            if error.status not in _REFUSED:
                raise
            hint = f"kubectl auth can-i get namespaces/{name} -n {name}; manifests/scanner grants it"
            self._unread.append(UnreadResource(f"namespace {name}", str(error), missing, hint, affects_decisions=True))
        else:
            known.namespaces[name] = labels(found.metadata.labels)

    def _parts(self, resource: Resource[T]) -> list[Resource[T]]:
        """Return what of a resource is to be listed."""
        return [resource.within(name) for name in self._within] or [resource]

    def _list(
        self,
        parts: Iterable[Resource[T]],
        missing: str,
        *,
        affects_decisions: bool = True,
        may_name_secrets: bool = False,
    ) -> Iterator[T]:
        for part in parts:
            try:
                yield from list_objects(part, self._transport, self._step)
            except ApiError as error:
                if error.status not in _REFUSED:
                    raise
                self._unread.append(
                    UnreadResource(part.name, str(error), missing, _hint(part), affects_decisions, may_name_secrets)
                )

    def _config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return next(list_objects(config_map(namespace, name), self._transport, self._step), None)

    def _tracked_since(self) -> Any:
        namespace, name = TRACKING
        missing = "since when uses of legacy tokens are recorded: no Secret counts as unused"
        what = f"ConfigMap {namespace}/{name}"
        try:
            found = self._config_map(namespace, name)
        except ApiError as error:
            if error.status not in _REFUSED:
                raise
            hint = f"kubectl auth can-i list configmaps/{name} -n {namespace}"
            self._unread.append(UnreadResource(what, str(error), missing, hint, affects_decisions=False))
            return None
        return parse_day((found.data or {}).get(TRACKED_SINCE)) if found else None

    def _issuer(self) -> str:
        missing = "the issuer among assumed audiences of the API server"
        try:
            answer = self._transport.get(_ISSUER, {}, "application/json")
        except ApiError as error:
            if error.status not in _REFUSED:
                raise
            hint = f"kubectl get --raw {_ISSUER}"
            self._unread.append(
                UnreadResource("the API server's issuer", str(error), missing, hint, affects_decisions=False)
            )
            return ""
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            return msgspec.json.decode(answer, type=_Discovery).issuer
        return ""


def _hint(resource: Resource[Any]) -> str:
    """Return what shows whether one may list something, and what grants it."""
    group = resource.path.split("/")[2] if resource.path.startswith("/apis/") else ""
    name = f"{_plural(resource)}.{group}" if group else _plural(resource)
    where = f"-n {resource.namespace}" if resource.namespace else "--all-namespaces"
    is_granted = "." not in group or group.endswith(".k8s.io") or any(group == known for known, _ in WELL_KNOWN)
    grant = "manifests/scanner grants it" if is_granted else "add a rule for it to the ClusterRole of manifests/scanner"
    return f"kubectl auth can-i list {name} {where}; {grant}"


def _plural(resource: Resource[Any]) -> str:
    return resource.path.rpartition("/")[2]


def _small(account: ServiceAccount) -> ServiceAccount:
    meta = account.metadata
    return replace(account, given_metadata=ObjectMeta(name=meta.name, namespace=meta.namespace))
