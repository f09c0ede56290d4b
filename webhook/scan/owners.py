"""Who makes a pod: the Deployment behind its ReplicaSet, the CronJob behind its Job, else its controller."""

import hashlib
from typing import Generic, NamedTuple, TypeVar

import msgspec

from webhook.core.objects import Container, ObjectMeta, OwnerReference, PodSpec, PodTemplate

_CLIMBED = frozenset({
    ("", "ReplicationController"),  # of an OpenShift DeploymentConfig
    ("apps", "ReplicaSet"),
    ("apps.kruise.io", "BroadcastJob"),
    ("batch", "Job"),
})  # fmt: skip
"""What is made by something else, as a rule, and then only an episode of that."""


class OwnerKey(NamedTuple):
    """Something that makes pods, or a pod that nothing makes."""

    namespace: str
    group: str
    kind: str
    name: str


class TemplateRevision(NamedTuple):
    """A template, and the label that the pods have which are from it as it is now; None where any may be."""

    template: PodTemplate
    newest: tuple[str, str] | None = None

    def is_of(self, pod: PodTemplate) -> bool:
        """Say whether a pod of its maker was made from it, and not from an older one."""
        return self.newest is None or self.newest in (pod.metadata.labels or {}).items()


class OwnerIndex:
    """What makes pods in a cluster, as far as it was told of: who is behind it, and its template."""

    def __init__(self) -> None:
        self._behind: dict[OwnerKey, OwnerKey] = {}
        self._origins: dict[OwnerKey, TemplateRevision] = {}
        self._templates = TemplateCache()

    def add(self, maker: OwnerKey, controller: OwnerReference | None, origin: TemplateRevision | None) -> bool:
        """Take what makes pods, and its template where it makes some itself; return whether nothing is behind it."""
        if origin is not None:
            kept = self._templates.kept(origin.template, in_full=origin.newest is not None)
            self._origins[maker] = origin._replace(template=kept)
        if controller is None or maker[1:3] not in _CLIMBED:
            return True
        self._behind[maker] = _maker(maker.namespace, controller)
        return False

    def of(
        self, namespace: str, name: str, controller: OwnerReference | None
    ) -> tuple[OwnerKey, TemplateRevision | None]:
        """Return who is behind a pod, and the template that its next one is from, where that is known."""
        if controller is None:
            return OwnerKey(namespace, "", "Pod", name), None
        direct = _maker(namespace, controller)
        return self._behind.get(direct, direct), self._origins.get(direct)


def owner_kind(reference: OwnerReference | None) -> tuple[str, str]:
    """Return the API group and kind of an owner, both empty where there is none."""
    if reference is None:
        return "", ""
    group, _, version = (reference.api_version or "").rpartition("/")
    return group if version else "", reference.kind or ""


def _maker(namespace: str, reference: OwnerReference) -> OwnerKey:
    return OwnerKey(namespace, *owner_kind(reference), reference.name or "")


_OURS = "tokenguard/"
"""What the annotations begin with that count."""
T = TypeVar("T")


class TemplateCache:
    """Those that were kept up to now."""

    def __init__(self) -> None:
        self._metas = _Shared[ObjectMeta]()
        self._specs = _Shared[PodSpec]()

    def kept(self, template: PodTemplate, *, in_full: bool) -> PodTemplate:
        """Return what there is to keep of a template.

        `in_full` says that pods are made from it alone; else it is laid over live ones (`webhook.scan.recreate`), for
        which its volumes and mounts, its account and its metadata do.
        """
        meta, spec = template.metadata, template.spec
        ours = {key: value for key, value in (meta.annotations or {}).items() if key.startswith(_OURS)}
        kept = ObjectMeta(labels=meta.labels, annotations=ours or None)
        return PodTemplate(self._metas.one(kept), self._specs.one(spec if in_full else _laid_over(spec)))


def _laid_over(spec: PodSpec) -> PodSpec:
    return PodSpec(
        volumes=spec.volumes,
        containers=_mounting(spec.containers),
        init_containers=_mounting(spec.init_containers),
        service_account_name=spec.service_account_name,
        service_account=spec.service_account,
        automount_service_account_token=spec.automount_service_account_token,
    )


def _mounting(containers: list[Container] | None) -> list[Container] | None:
    return [Container(name=one.name, volume_mounts=one.volume_mounts) for one in containers] if containers else None


class _Shared(Generic[T]):
    """Values of one type, equal ones once."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, T] = {}

    def one(self, value: T) -> T:
        """Return the value, or one like it that was there before."""
        digest = hashlib.blake2b(msgspec.json.encode(value), digest_size=16).digest()
        return self._by_digest.setdefault(digest, value)
