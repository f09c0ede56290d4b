"""The objects of a cluster that only a scan reads, cut down to the fields that it reads."""

import msgspec

from webhook.core.objects import Identity, Object, ObjectWithMeta, PodTemplate, Workload
from webhook.core.token_objects import INVALID_SINCE, LEGACY_TOKEN_ACCOUNT

LAST_USED = "kubernetes.io/legacy-token-last-used"
TRACKING = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking")
"""The ConfigMap that says since when it is known whether legacy tokens are used."""
TRACKED_SINCE = "since"
"""Its key: a day, as `2026-11-24`."""


class UsageLabels(Object, frozen=True):
    """What the API server notes of a legacy token's use, in the Secret's labels."""

    last_used: str | None = msgspec.field(default=None, name=LAST_USED)
    invalid_since: str | None = msgspec.field(default=None, name=INVALID_SINCE)


class _Annotations(Object, frozen=True):
    account: str | None = msgspec.field(default=None, name=LEGACY_TOKEN_ACCOUNT)


class SecretMeta(Identity, frozen=True):
    """A legacy Secret's metadata: whose token it holds, since when, and what the API server notes of its use."""

    creation_timestamp: str | None = None
    labels: UsageLabels | None = None
    annotations: _Annotations | None = None


NO_USAGE_LABELS = UsageLabels()


class LegacyTokenSecret(Object, frozen=True):
    """A Secret of the legacy type, as PartialObjectMetadata."""

    given_metadata: SecretMeta | None = msgspec.field(default=None, name="metadata")

    @property
    def metadata(self) -> SecretMeta:
        """Its metadata."""
        return self.given_metadata or SecretMeta()


class ReplicaSetSpec(Object, frozen=True):
    """What a ReplicaSet makes, and how many."""

    replicas: int | None = None
    template: PodTemplate | None = None


class ReplicaSet(ObjectWithMeta, frozen=True):
    """A ReplicaSet or a ReplicationController; most of a Deployment's are old ones that make no pods any more."""

    spec: ReplicaSetSpec | None = None

    @property
    def replicas(self) -> int:
        """How many pods it is to have."""
        return 1 if self.spec is None or self.spec.replicas is None else self.spec.replicas

    @property
    def template(self) -> PodTemplate:
        """What its pods look like."""
        return (self.spec and self.spec.template) or PodTemplate()


class _PodStatus(Object, frozen=True):
    phase: str | None = None


class Pod(PodTemplate, frozen=True):
    """A pod as it is listed: with how far it is."""

    status: _PodStatus | None = None

    @property
    def finished(self) -> bool:
        """Whether all that it ran has ended for good: the kubelet starts none of it again."""
        return self.status is not None and self.status.phase in ("Succeeded", "Failed")


class _Condition(Object, frozen=True):
    type: str | None = None
    status: str | None = None


class _JobStatus(Object, frozen=True):
    conditions: list[_Condition] | None = None


class Job(Workload, frozen=True):
    """A Job."""

    status: _JobStatus | None = None

    @property
    def finished(self) -> bool:
        """Whether it makes no more pods."""
        told = (self.status and self.status.conditions) or ()
        return any(one.type in ("Complete", "Failed") and one.status == "True" for one in told)


class _RolledStatus(Object, frozen=True):
    update_revision: str | None = None


class RollingWorkload(Workload, frozen=True):
    """A StatefulSet or a DaemonSet: it makes pods itself; those of an older template stay until it replaces them."""

    status: _RolledStatus | None = None

    @property
    def newest(self) -> tuple[str, str] | None:
        """The label, and its value, of pods from the template as it is now; None where that isn't said."""
        generation = self.metadata.annotation("deprecated.daemonset.template.generation")
        if generation:
            return "pod-template-generation", generation
        revision = self.status and self.status.update_revision
        return ("controller-revision-hash", revision) if revision else None


class Subject(Object, frozen=True):
    """Whom a binding gives a role to."""

    kind: str | None = None
    name: str | None = None
    namespace: str | None = None


class _BindingLabels(Object, frozen=True):
    bootstrapping: str | None = msgspec.field(default=None, name="kubernetes.io/bootstrapping")


RBAC_DEFAULTS = "rbac-defaults"
"""Its value for what the API server makes by itself, and mends when it starts."""


class BindingMeta(Identity, frozen=True):
    """A binding's metadata."""

    labels: _BindingLabels | None = None


class Binding(Object, frozen=True):
    """A RoleBinding or a ClusterRoleBinding."""

    given_metadata: BindingMeta | None = msgspec.field(default=None, name="metadata")
    subjects: list[Subject] | None = None

    @property
    def metadata(self) -> BindingMeta:
        """Its name and namespace, and whether it is Kubernetes' own."""
        return self.given_metadata or BindingMeta()
