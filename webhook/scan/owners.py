"""Who makes a pod: the Deployment behind its ReplicaSet, the CronJob behind its Job, else its controller."""

from typing import NamedTuple

from webhook.core.objects import OwnerReference, PodTemplate
from webhook.scan.templates import Templates

_CLIMBED = frozenset({
    ("", "ReplicationController"),  # of an OpenShift DeploymentConfig
    ("apps", "ReplicaSet"),
    ("apps.kruise.io", "BroadcastJob"),
    ("batch", "Job"),
})  # fmt: skip
"""What is made by something else, as a rule, and then only an episode of that."""


class Maker(NamedTuple):
    """Something that makes pods, or a pod that nothing makes."""

    namespace: str
    group: str
    kind: str
    name: str


class Origin(NamedTuple):
    """A template, and the label that the pods have which are from it as it is now; None where any may be."""

    template: PodTemplate
    newest: tuple[str, str] | None = None

    def is_of(self, pod: PodTemplate) -> bool:
        """Say whether a pod of its maker was made from it, and not from an older one."""
        return self.newest is None or self.newest in (pod.metadata.labels or {}).items()


class Owners:
    """What makes pods in a cluster, as far as it was told of: who is behind it, and its template."""

    def __init__(self) -> None:
        self._behind: dict[Maker, Maker] = {}
        self._origins: dict[Maker, Origin] = {}
        self._templates = Templates()

    def add(self, maker: Maker, controller: OwnerReference | None, origin: Origin | None) -> bool:
        """Take what makes pods, and its template where it makes some itself; return whether nothing is behind it."""
        if origin is not None:
            kept = self._templates.kept(origin.template, in_full=origin.newest is not None)
            self._origins[maker] = origin._replace(template=kept)
        if controller is None or maker[1:3] not in _CLIMBED:
            return True
        self._behind[maker] = _maker(maker.namespace, controller)
        return False

    def of(self, namespace: str, name: str, controller: OwnerReference | None) -> tuple[Maker, Origin | None]:
        """Return who is behind a pod, and the template that its next one is from, where that is known."""
        if controller is None:
            return Maker(namespace, "", "Pod", name), None
        direct = _maker(namespace, controller)
        return self._behind.get(direct, direct), self._origins.get(direct)


def owner_kind(reference: OwnerReference | None) -> tuple[str, str]:
    """Return the API group and kind of an owner, both empty where there is none."""
    if reference is None:
        return "", ""
    group, _, version = (reference.api_version or "").rpartition("/")
    return group if version else "", reference.kind or ""


def _maker(namespace: str, reference: OwnerReference) -> Maker:
    return Maker(namespace, *owner_kind(reference), reference.name or "")
