"""The Kubernetes objects, cut down to the fields that rules read.

Nothing else is decoded: unknown fields are skipped by the decoder, so new ones can neither break nor
slow a decision, and values that must not be kept (Secret data, `env[].value`) never become Python
objects. Names are those of the Kubernetes API, in snake case.

Every field may be null or absent, and so may a label's or annotation's value: all mean the zero value, as they do
to the API server.
"""

from typing import Any

import msgspec


class Object(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Base of all: immutable, unknown to the garbage collector (JSON has no cycles), camelCase on the wire."""


class LocalObjectReference(Object, frozen=True):
    """A reference to something by name: LocalObjectReference, SecretKeySelector, SecretEnvSource."""

    name: str | None = None


class EnvVarSource(Object, frozen=True):
    """Where an env variable's value comes from."""

    secret_key_ref: LocalObjectReference | None = None


class EnvVar(Object, frozen=True):
    """An env variable; its `value` is left unread."""

    name: str | None = None
    value_from: EnvVarSource | None = None


class EnvFromSource(Object, frozen=True):
    """A source of many env variables."""

    secret_ref: LocalObjectReference | None = None


class VolumeMount(Object, frozen=True):
    """Where a container sees a volume."""

    name: str | None = None
    mount_path: str | None = None
    sub_path: str | None = None
    sub_path_expr: str | None = None


class VolumeDevice(Object, frozen=True):
    """Where a container sees a block device."""

    device_path: str | None = None


class Container(Object, frozen=True):
    """A container of any of a pod's three lists."""

    name: str | None = None
    env: list[EnvVar] | None = None
    env_from: list[EnvFromSource] | None = None
    volume_mounts: list[VolumeMount] | None = None
    volume_devices: list[VolumeDevice] | None = None


class KeyToPath(Object, frozen=True):
    """One key of a Secret as a file; `mode` is a permission, as a number."""

    key: str | None = None
    path: str | None = None
    mode: int | None = None


class SecretVolumeSource(Object, frozen=True):
    """A volume that holds a Secret."""

    secret_name: str | None = None
    items: list[KeyToPath] | None = None
    default_mode: int | None = None


class ServiceAccountTokenProjection(Object, frozen=True):
    """A token of the pod's account; `expiration_seconds` is 3600 where it is absent."""

    audience: str | None = None
    expiration_seconds: int | None = None
    path: str | None = None


class VolumeProjection(Object, frozen=True):
    """One source of a projected volume; kinds that no rule reads arrive as an empty one."""

    service_account_token: ServiceAccountTokenProjection | None = None
    secret: LocalObjectReference | None = None


class ProjectedVolumeSource(Object, frozen=True):
    """A volume put together from several sources."""

    sources: list[VolumeProjection] | None = None


class HostPathVolumeSource(Object, frozen=True):
    """A path of the node."""

    path: str | None = None


class AzureFileVolumeSource(Object, frozen=True):
    """An Azure share, whose credentials are in a Secret."""

    secret_name: str | None = None


class CSIVolumeSource(Object, frozen=True):
    """A volume of a CSI driver, which may be handed a Secret."""

    node_publish_secret_ref: LocalObjectReference | None = None


class SecretRefVolumeSource(Object, frozen=True):
    """A volume kind of older storage drivers, whose credentials are in a Secret."""

    secret_ref: LocalObjectReference | None = None


class Volume(Object, frozen=True):
    """A volume of a pod: of each kind that can hold a token, name a Secret or show the node's files."""

    name: str | None = None
    secret: SecretVolumeSource | None = None
    projected: ProjectedVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    azure_file: AzureFileVolumeSource | None = None
    csi: CSIVolumeSource | None = None
    cephfs: SecretRefVolumeSource | None = None
    cinder: SecretRefVolumeSource | None = None
    flex_volume: SecretRefVolumeSource | None = None
    iscsi: SecretRefVolumeSource | None = None
    rbd: SecretRefVolumeSource | None = None
    scale_io: SecretRefVolumeSource | None = msgspec.field(default=None, name="scaleIO")
    storageos: SecretRefVolumeSource | None = None


class PodOS(Object, frozen=True):
    """The system that a pod is for: linux or windows."""

    name: str | None = None


class NodeSelector(Object, frozen=True):
    """The one label of nodes that a pod's system can be read from."""

    os: str | None = msgspec.field(default=None, name="kubernetes.io/os")


class PodSpec(Object, frozen=True):
    """What a pod runs and mounts."""

    volumes: list[Volume] | None = None
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None
    service_account_name: str | None = None
    service_account: str | None = None  # its older name, which the API server copies into the other
    automount_service_account_token: bool | None = None
    termination_grace_period_seconds: int | None = None
    os: PodOS | None = None
    node_selector: NodeSelector | None = None

    @property
    def for_windows(self) -> bool:
        """Whether it says that it runs on Windows."""
        named = self.os.name if self.os else None
        return (named or (self.node_selector and self.node_selector.os)) == "windows"


class OwnerReference(Object, frozen=True):
    """Which object another belongs to."""

    api_version: str | None = None
    kind: str | None = None
    name: str | None = None
    uid: str | None = None
    controller: bool | None = None


class ObjectIdentity(Object, frozen=True):
    """So much of an object's metadata as says which it is and whose."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    owner_references: list[OwnerReference] | None = None

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages the object, if there is one."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)


class ObjectMeta(ObjectIdentity, frozen=True):
    """An object's name, owners, labels and annotations."""

    labels: dict[str, str | None] | None = None
    annotations: dict[str, str | None] | None = None

    def annotation(self, key: str) -> str:
        """Return an annotation's value, empty where it isn't there."""
        return (self.annotations.get(key) if self.annotations else None) or ""


_NO_META = ObjectMeta()
_NO_SPEC = PodSpec()


class ObjectWithMeta(Object, frozen=True):
    """An object with metadata, which are empty where there are none."""

    given_metadata: ObjectMeta | None = msgspec.field(default=None, name="metadata")

    @property
    def metadata(self) -> ObjectMeta:
        """Its name, labels, annotations and owners."""
        return self.given_metadata or _NO_META


class PodTemplate(ObjectWithMeta, frozen=True):
    """A pod, or the template of one: metadata and spec."""

    given_spec: PodSpec | None = msgspec.field(default=None, name="spec")

    @property
    def spec(self) -> PodSpec:
        """What it runs and mounts; empty where it says nothing."""
        return self.given_spec or _NO_SPEC


class WorkloadSpec(Object, frozen=True):
    """The spec of a Deployment and its like."""

    template: PodTemplate | None = None


class Workload(ObjectWithMeta, frozen=True):
    """An object that makes pods: Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job."""

    spec: WorkloadSpec | None = None

    @property
    def template(self) -> PodTemplate:
        """What its pods look like."""
        return (self.spec and self.spec.template) or PodTemplate()


class CronJobSpec(Object, frozen=True):
    """The spec of a CronJob."""

    job_template: Workload | None = None


class CronJob(ObjectWithMeta, frozen=True):
    """An object that makes Jobs."""

    spec: CronJobSpec | None = None

    @property
    def template(self) -> PodTemplate:
        """What the pods of its Jobs look like."""
        return self.spec.job_template.template if self.spec and self.spec.job_template else PodTemplate()


class CustomWorkload(ObjectWithMeta, frozen=True):
    """An object of a custom kind that creates pods; `at` is the JSON Pointer of its pod template.

    See `webhook.core.custom_workloads`.
    """

    at: str = ""
    given_template: PodTemplate | None = None

    @property
    def template(self) -> PodTemplate:
        """What its pods look like."""
        return self.given_template or PodTemplate()


class Namespace(ObjectWithMeta, frozen=True):
    """A namespace: its name and labels."""


AnyWorkload = Workload | CronJob | CustomWorkload


def decoder(kind: type[Object]) -> "msgspec.json.Decoder[Any]":
    """Return a decoder of JSON bytes into `kind`; it raises `msgspec.ValidationError` on what isn't one."""
    return msgspec.json.Decoder(kind)
