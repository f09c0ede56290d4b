"""The types of the Kubernetes API, cut down to the fields that rules read.

The decoder skips all other fields, so new ones can neither break nor slow an evaluation, and confidential values
(Secret data, `env[].value`) never become Python objects. Names are those of the Kubernetes API, in snake case.

Every field may be null or absent, and so may a label's or annotation's value: all mean the zero value, as for the API
server.
"""

import msgspec


class Object(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Base of all: immutable, ignored by the garbage collector (JSON has no cycles), camelCase on the wire."""


class LocalObjectReference(Object, frozen=True):
    """Also SecretEnvSource."""

    name: str | None = None


class SecretKeySelector(LocalObjectReference, frozen=True):
    key: str | None = None


class EnvVarSource(Object, frozen=True):
    secret_key_ref: SecretKeySelector | None = None


class EnvVar(Object, frozen=True):
    """An env variable, without its `value`."""

    name: str | None = None
    value_from: EnvVarSource | None = None


class EnvFromSource(Object, frozen=True):
    secret_ref: LocalObjectReference | None = None


class VolumeMount(Object, frozen=True):
    name: str | None = None
    mount_path: str | None = None
    sub_path: str | None = None
    sub_path_expr: str | None = None


class VolumeDevice(Object, frozen=True):
    device_path: str | None = None


class Container(Object, frozen=True):
    name: str | None = None
    env: list[EnvVar] | None = None
    env_from: list[EnvFromSource] | None = None
    volume_mounts: list[VolumeMount] | None = None
    volume_devices: list[VolumeDevice] | None = None


class KeyToPath(Object, frozen=True):
    """One key of a Secret as a file; `mode` is a number."""

    key: str | None = None
    path: str | None = None
    mode: int | None = None


class SecretVolumeSource(Object, frozen=True):
    secret_name: str | None = None
    items: list[KeyToPath] | None = None
    default_mode: int | None = None


class SecretProjection(LocalObjectReference, frozen=True):
    items: list[KeyToPath] | None = None


class ServiceAccountTokenProjection(Object, frozen=True):
    """A token of the pod's account; `expiration_seconds` defaults to 3600."""

    audience: str | None = None
    expiration_seconds: int | None = None
    path: str | None = None


class VolumeProjection(Object, frozen=True):
    """One source of a projected volume; empty if it is of a kind that no rule reads."""

    service_account_token: ServiceAccountTokenProjection | None = None
    secret: SecretProjection | None = None


class ProjectedVolumeSource(Object, frozen=True):
    sources: list[VolumeProjection] | None = None


class HostPathVolumeSource(Object, frozen=True):
    path: str | None = None


class AzureFileVolumeSource(Object, frozen=True):
    secret_name: str | None = None


class CSIVolumeSource(Object, frozen=True):
    node_publish_secret_ref: LocalObjectReference | None = None


class SecretRefVolumeSource(Object, frozen=True):
    """A volume of an older storage driver, whose credentials are in a Secret."""

    secret_ref: LocalObjectReference | None = None


class Volume(Object, frozen=True):
    """A volume of a pod, of any kind that can contain a token, name a Secret or mount the node's files."""

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
    name: str | None = None


class NodeSelector(Object, frozen=True):
    """The label of nodes that says which system they run."""

    os: str | None = msgspec.field(default=None, name="kubernetes.io/os")


class PodSpec(Object, frozen=True):
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
        """Whether the pod says that it runs on Windows."""
        named = self.os.name if self.os else None
        return (named or (self.node_selector and self.node_selector.os)) == "windows"


class OwnerReference(Object, frozen=True):
    api_version: str | None = None
    kind: str | None = None
    name: str | None = None
    uid: str | None = None
    controller: bool | None = None


class ObjectIdentity(Object, frozen=True):
    """The part of an object's metadata that identifies it and its owners."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    owner_references: list[OwnerReference] | None = None

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages the object, if there is one."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)


class ObjectMeta(ObjectIdentity, frozen=True):
    labels: dict[str, str | None] | None = None
    annotations: dict[str, str | None] | None = None

    def annotation(self, key: str) -> str:
        """Return an annotation's value, empty if there is none."""
        return (self.annotations.get(key) if self.annotations else None) or ""


_NO_META = ObjectMeta()
_NO_SPEC = PodSpec()


class ObjectWithMeta(Object, frozen=True):
    """An object with metadata, empty by default."""

    given_metadata: ObjectMeta | None = msgspec.field(default=None, name="metadata")

    @property
    def metadata(self) -> ObjectMeta:
        """Its metadata."""
        return self.given_metadata or _NO_META


class Pod(ObjectWithMeta, frozen=True):
    """A pod, or the template of pods in a workload."""

    given_spec: PodSpec | None = msgspec.field(default=None, name="spec")

    @property
    def spec(self) -> PodSpec:
        """Its spec, empty by default."""
        return self.given_spec or _NO_SPEC


class WorkloadSpec(Object, frozen=True):
    template: Pod | None = None


class Workload(ObjectWithMeta, frozen=True):
    """A Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController or Job."""

    spec: WorkloadSpec | None = None

    @property
    def template(self) -> Pod:
        """Its pod template, empty by default."""
        return (self.spec and self.spec.template) or Pod()


class CronJobSpec(Object, frozen=True):
    job_template: Workload | None = None


class CronJob(ObjectWithMeta, frozen=True):
    spec: CronJobSpec | None = None

    @property
    def template(self) -> Pod:
        """The pod template of its Jobs, empty by default."""
        return self.spec.job_template.template if self.spec and self.spec.job_template else Pod()


class CustomWorkload(ObjectWithMeta, frozen=True):
    """An object of a custom kind that creates pods; `template_pointer` is the JSON Pointer of its pod template.

    See `webhook.core.custom_workloads`.
    """

    template_pointer: str = ""
    given_template: Pod | None = None

    @property
    def template(self) -> Pod:
        """Its pod template, empty by default."""
        return self.given_template or Pod()


class Namespace(ObjectWithMeta, frozen=True):
    """A namespace: its name and labels."""


AnyWorkload = Workload | CronJob | CustomWorkload
