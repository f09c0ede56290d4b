"""Templates that are kept until the pods come: cut down to what is read of them then, and equal ones kept once.

A CronJob leaves a Job for every run, each with the same template; a cluster may have tens of thousands of them.
"""

import hashlib
from typing import Generic, TypeVar

import msgspec

from webhook.core.objects import Container, ObjectMeta, PodSpec, PodTemplate

_OURS = "tokenguard/"
"""What the annotations begin with that count."""
T = TypeVar("T")


class Templates:
    """Those that were kept up to now."""

    def __init__(self) -> None:
        self._metas = _Shared[ObjectMeta]()
        self._specs = _Shared[PodSpec]()

    def kept(self, template: PodTemplate, *, in_full: bool) -> PodTemplate:
        """Return what there is to keep of a template.

        `in_full` says that pods are made from it alone; else it is laid over live ones (`webhook.scan.authored`), for
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
