"""API objects that only a scan reads, with the fields that it reads."""

import datetime as dt
from typing import Any

import msgspec

from webhook.core.k8s_types import (
    CronJob,
    CronJobSpec,
    Object,
    ObjectIdentity,
    ObjectMeta,
    Pod,
    PodSpec,
    Workload,
    WorkloadSpec,
)
from webhook.core.token_objects import INVALID_SINCE, LEGACY_TOKEN_ACCOUNT, ServiceAccount

LAST_USED = "kubernetes.io/legacy-token-last-used"
TRACKING = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking")
"""The ConfigMap with the day since which the API server records uses of legacy tokens."""
TRACKING_TITLE = f"ConfigMap {'/'.join(TRACKING)}"
"""How a report names it."""
TRACKED_SINCE = "since"
"""Its key, a day like `2026-11-24`."""


class _UsageLabels(Object, frozen=True):
    """The labels in which the API server records the use of a legacy token."""

    last_used: str | None = msgspec.field(default=None, name=LAST_USED)
    invalid_since: str | None = msgspec.field(default=None, name=INVALID_SINCE)


class SecretAnnotations(Object, frozen=True):
    """The account of a legacy token."""

    account: str | None = msgspec.field(default=None, name=LEGACY_TOKEN_ACCOUNT)


class SecretMeta(ObjectIdentity, frozen=True):
    """A legacy Secret's metadata."""

    creation_timestamp: dt.datetime | None = None
    labels: _UsageLabels = _UsageLabels()
    annotations: SecretAnnotations = SecretAnnotations()


class LegacyTokenSecret(Object, frozen=True):
    """A Secret of the legacy type, as PartialObjectMetadata."""

    metadata: SecretMeta

    @property
    def key(self) -> tuple[str, str]:
        """Its namespace and name."""
        return self.metadata.namespace or "", self.metadata.name or ""

    @property
    def account(self) -> str:
        """The token's ServiceAccount, empty if it is not known."""
        return self.metadata.annotations.account or ""


def pull_secrets(entries: Any) -> tuple[str, ...]:
    """Return the names in `imagePullSecrets`, empty for an entry of another form: custom kinds may have any."""
    items = entries if isinstance(entries, list) else ()
    names = (entry.get("name") if isinstance(entry, dict) else None for entry in items)
    return tuple(name if isinstance(name, str) else "" for name in names)


class ScannedAccount(ServiceAccount, frozen=True):
    """A ServiceAccount, with the Secrets that pull the images of its pods."""

    image_pull_secrets: Any = None


class ScannedPodSpec(PodSpec, frozen=True):
    """The spec of a pod, with the Secrets that pull its images."""

    image_pull_secrets: Any = None


class ScannedPod(Pod, frozen=True):
    """A pod, or the template of pods in a workload."""

    given_spec: ScannedPodSpec | None = msgspec.field(default=None, name="spec")


class _TemplateSpec(WorkloadSpec, frozen=True):
    template: ScannedPod | None = None


class TemplateOwner(Workload, frozen=True):
    """A Deployment, and the base of other workloads."""

    spec: _TemplateSpec | None = None


class _CronJobSpec(CronJobSpec, frozen=True):
    job_template: TemplateOwner | None = None


class ScannedCronJob(CronJob, frozen=True):
    """A CronJob."""

    spec: _CronJobSpec | None = None


class _ReplicaSetSpec(_TemplateSpec, frozen=True):
    replicas: int | None = None


class ReplicaSet(TemplateOwner, frozen=True):
    """A ReplicaSet or a ReplicationController; most of a Deployment's are old and have no pods."""

    spec: _ReplicaSetSpec | None = None

    @property
    def replicas(self) -> int:
        """The desired number of pods."""
        return 1 if self.spec is None or self.spec.replicas is None else self.spec.replicas


class _PodStatus(Object, frozen=True):
    phase: str | None = None


class _PodMeta(ObjectMeta, frozen=True):
    creation_timestamp: dt.datetime | None = None


class LivePod(ScannedPod, frozen=True):
    """A pod with its phase, and when it was created."""

    given_metadata: _PodMeta | None = msgspec.field(default=None, name="metadata")
    status: _PodStatus | None = None

    @property
    def created(self) -> dt.datetime | None:
        """When it was created, by the API server's clock."""
        return self.given_metadata.creation_timestamp if self.given_metadata else None

    @property
    def finished(self) -> bool:
        """Whether the pod has ended and the kubelet does not restart it."""
        return self.status is not None and self.status.phase in ("Succeeded", "Failed")


class _Condition(Object, frozen=True):
    type: str | None = None
    status: str | None = None


class _JobStatus(Object, frozen=True):
    conditions: list[_Condition] | None = None


class Job(TemplateOwner, frozen=True):
    """A Job."""

    status: _JobStatus | None = None

    @property
    def finished(self) -> bool:
        """Whether it creates no more pods."""
        conditions = (self.status and self.status.conditions) or ()
        return any(condition.type in ("Complete", "Failed") and condition.status == "True" for condition in conditions)


class _RollingStatus(Object, frozen=True):
    update_revision: str | None = None


class RollingWorkload(TemplateOwner, frozen=True):
    """A StatefulSet or a DaemonSet: pods of an older template run until it replaces them."""

    status: _RollingStatus | None = None

    @property
    def revision_label(self) -> tuple[str, str] | None:
        """The label and its value of pods of the current template; None if it is not known."""
        generation = self.metadata.annotation("deprecated.daemonset.template.generation")
        if generation:
            return "pod-template-generation", generation
        revision = self.status and self.status.update_revision
        return ("controller-revision-hash", revision) if revision else None
