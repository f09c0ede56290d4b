"""Finds the workload of a pod: the Deployment of its ReplicaSet, the CronJob of its Job, else its controller.

Templates are kept until the pods are read: reduced to what is needed then, and shared if equal. A CronJob leaves a Job
for every run, each with the same template; a cluster may have tens of thousands of them.
"""

import hashlib
from typing import Any, NamedTuple, TypeVar

import msgspec

from webhook.core.k8s_types import Container, ObjectMeta, OwnerReference, Pod, PodSpec

_INTERMEDIATE = frozenset({
    ("", "ReplicationController"),  # of an OpenShift DeploymentConfig
    ("apps", "ReplicaSet"),
    ("apps.kruise.io", "BroadcastJob"),
    ("batch", "Job"),
})  # fmt: skip
"""Kinds that another workload usually creates and replaces."""
_BUILT_IN_GROUPS = frozenset({"", "apps", "batch"})
_ANNOTATION_PREFIX = "tokenguard/"
T = TypeVar("T", ObjectMeta, PodSpec)


class OwnerKey(NamedTuple):
    """Something that creates pods, or a pod that nothing creates."""

    namespace: str
    group: str
    kind: str
    name: str


class OwnerIdentity(NamedTuple):
    """The `apiVersion` and the uid of an owner; empty if they are not known."""

    api_version: str = ""
    uid: str = ""


class TemplateRevision(NamedTuple):
    """A template, and the label of the pods that were created from it; None if it is not known."""

    template: Pod
    label: tuple[str, str] | None = None

    def created(self, pod: Pod) -> bool:
        """Return whether a pod was created from this template, not from an older one."""
        return self.label is None or self.label in (pod.metadata.labels or {}).items()


class OwnerIndex:
    """The owners of pods and their templates."""

    def __init__(self) -> None:
        self._parents: dict[OwnerKey, OwnerKey] = {}
        self._templates: dict[OwnerKey, TemplateRevision] = {}
        self._cache = TemplateCache()

    def add(self, owner: OwnerKey, controller: OwnerReference | None, template: TemplateRevision | None) -> bool:
        """Add an owner, with its template if it creates pods itself; return whether no other workload controls it."""
        if template is not None:
            shared = self._cache.share(template.template, full=template.label is not None)
            self._templates[owner] = template._replace(template=shared)
        if controller is None or owner[1:3] not in _INTERMEDIATE:
            return True
        self._parents[owner] = _key(owner.namespace, controller)
        return False

    def find(
        self, namespace: str, pod: str, controller: OwnerReference | None
    ) -> tuple[OwnerKey, TemplateRevision | None]:
        """Return the workload of a pod, and the template of its controller, if it is known."""
        if controller is None:
            return OwnerKey(namespace, "", "Pod", pod), None
        direct = _key(namespace, controller)
        return self._parents.get(direct, direct), self._templates.get(direct)


def owner_kind(reference: OwnerReference | None) -> tuple[str, str]:
    """Return the API group and kind of an owner, both empty without one."""
    if reference is None:
        return "", ""
    group, _, version = (reference.api_version or "").rpartition("/")
    return group if version else "", reference.kind or ""


def _key(namespace: str, reference: OwnerReference) -> OwnerKey:
    return OwnerKey(namespace, *owner_kind(reference), reference.name or "")


class TemplateCache:
    """Shares equal parts of templates."""

    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}

    def share(self, template: Pod, *, full: bool) -> Pod:
        """Return the needed parts of a template.

        `full` says that pods are evaluated by it alone; otherwise it is merged into live ones
        (`webhook.scan.recreate`), which needs its volumes and mounts, its account and its metadata.
        """
        meta, spec = template.metadata, template.spec
        annotations = {
            key: value for key, value in (meta.annotations or {}).items() if key.startswith(_ANNOTATION_PREFIX)
        }
        needed = ObjectMeta(labels=meta.labels, annotations=annotations or None)
        return Pod(self._shared(needed), self._shared(spec if full else _reduced(spec)))

    def _shared(self, value: T) -> T:
        """Return the value, or an equal one that is known."""
        digest = hashlib.blake2b(msgspec.json.encode(value), digest_size=16).digest()
        shared: T = self._known.setdefault(digest, value)
        return shared


def _reduced(spec: PodSpec) -> PodSpec:
    return PodSpec(
        volumes=spec.volumes,
        containers=_mounts_of(spec.containers),
        init_containers=_mounts_of(spec.init_containers),
        service_account_name=spec.service_account_name,
        service_account=spec.service_account,
        automount_service_account_token=spec.automount_service_account_token,
    )


def _mounts_of(containers: list[Container] | None) -> list[Container] | None:
    if not containers:
        return None
    return [Container(name=container.name, volume_mounts=container.volume_mounts) for container in containers]


def object_title(group: str, kind: str, name: str) -> str:
    """Return kind and name, with the group of a custom kind."""
    return f"{kind}/{name}" if group in _BUILT_IN_GROUPS else f"{kind}.{group}/{name}"
