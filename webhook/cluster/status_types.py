"""The fields that a status is made from. Of the TLS Secret only the certificates are decoded, never a key."""

import msgspec

from webhook.cluster.api_types import ApiObject, LabelSelector, MatchCondition
from webhook.status.webhooks import OPT_OUT_ANNOTATION


class _Camel(msgspec.Struct, rename="camel"):
    pass


class Condition(_Camel):
    """A condition of a Deployment or a pod."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _DeploymentSpec(_Camel):
    replicas: int = 1


class _DeploymentStatus(_Camel):
    ready_replicas: int = 0
    conditions: list[Condition] | None = None


class Deployment(ApiObject):
    """A Deployment's size, and the conditions that say why it has not more pods."""

    spec: _DeploymentSpec = msgspec.field(default_factory=_DeploymentSpec)
    status: _DeploymentStatus = msgspec.field(default_factory=_DeploymentStatus)


class _Waiting(_Camel):
    reason: str = ""


class _ContainerState(_Camel):
    waiting: _Waiting | None = None
    terminated: _Waiting | None = None


class _ContainerStatus(_Camel):
    state: _ContainerState = msgspec.field(default_factory=_ContainerState)


class _PodStatus(_Camel):
    phase: str = ""
    conditions: list[Condition] | None = None
    container_statuses: list[_ContainerStatus] | None = None


class ReplicaPod(ApiObject):
    """A pod of tokenguard."""

    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _CertificateData(msgspec.Struct):
    chain: bytes = msgspec.field(name="tls.crt", default=b"")
    bundle: bytes = msgspec.field(name="ca.crt", default=b"")


class CertificateSecret(msgspec.Struct):
    """The certificates in the TLS Secret."""

    data: _CertificateData | None = None


class _Rule(_Camel):
    operations: list[str] | None = None
    resources: list[str] | None = None


class _Service(_Camel):
    name: str = ""
    namespace: str = ""


class _Client(_Camel):
    service: _Service | None = None
    url: str = ""
    ca_bundle: bytes = b""


class Webhook(_Camel):
    """A webhook of a configuration."""

    name: str = ""
    failure_policy: str = ""
    client_config: _Client = msgspec.field(default_factory=_Client)
    rules: list[_Rule] | None = None
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    match_conditions: list[MatchCondition] | None = None


class _ConfigurationAnnotations(_Camel):
    opt_out_label: str = msgspec.field(name=OPT_OUT_ANNOTATION, default="")


class _ConfigurationMetadata(_Camel):
    annotations: _ConfigurationAnnotations | None = None


class StoredConfiguration(_Camel):
    """A webhook configuration."""

    metadata: _ConfigurationMetadata = msgspec.field(default_factory=_ConfigurationMetadata)
    webhooks: list[Webhook] | None = None

    @property
    def opt_out_label(self) -> str:
        """The label by which Namespaces may be excluded, as the installation says; empty for none."""
        return self.metadata.annotations.opt_out_label if self.metadata.annotations else ""
