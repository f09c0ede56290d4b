"""The fields that a status is made from. Of the TLS Secret only the certificates are decoded, never a key."""

import msgspec

from webhook.cluster.api_types import ApiObject, LabelSelector, MatchCondition
from webhook.status.webhooks import OPT_OUT_ANNOTATION

MANAGE_CERTS = "TOKENGUARD_MANAGE_CERTS"


class _Camel(msgspec.Struct, rename="camel"):
    pass


class _Reason(_Camel):
    reason: str = ""
    message: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.reason, self.message)))


class Condition(_Reason):
    """A condition of a Deployment or a pod."""

    type: str = ""
    status: str = ""


class _EnvVar(_Camel):
    name: str = ""


class _Container(_Camel):
    args: list[str] | None = None
    env: list[_EnvVar] | None = None


class _PodSpec(_Camel):
    containers: list[_Container] | None = None


class _PodTemplate(_Camel):
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)


class _DeploymentSpec(_Camel):
    replicas: int = 1
    template: _PodTemplate = msgspec.field(default_factory=_PodTemplate)


class _DeploymentStatus(_Camel):
    ready_replicas: int = 0
    conditions: list[Condition] | None = None


class Deployment(ApiObject):
    """A Deployment's size, and the conditions that say why it has not more pods."""

    spec: _DeploymentSpec = msgspec.field(default_factory=_DeploymentSpec)
    status: _DeploymentStatus = msgspec.field(default_factory=_DeploymentStatus)

    @property
    def manages_certificates(self) -> bool:
        """Whether the replicas issue their certificate themselves (--manage-certs)."""
        return any(
            "--manage-certs" in (container.args or ()) or any(var.name == MANAGE_CERTS for var in container.env or ())
            for container in self.spec.template.spec.containers or ()
        )


class _Terminated(_Camel):
    reason: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        return f"{self.reason or 'ended'}, exit status {self.exit_code}"


class _ContainerState(_Camel):
    waiting: _Reason | None = None
    terminated: _Terminated | None = None


class _ContainerStatus(_Camel):
    state: _ContainerState = msgspec.field(default_factory=_ContainerState)
    last_state: _ContainerState = msgspec.field(default_factory=_ContainerState)

    @property
    def is_started(self) -> bool:
        """Whether the container runs or has run, so that it may have a log."""
        return not self.state.waiting or bool(self.last_state.terminated)

    @property
    def reason(self) -> str:
        """Why the container does not run; empty if it runs."""
        waiting, ended = self.state.waiting, self.state.terminated or self.last_state.terminated
        if waiting and not ended:
            return str(waiting)
        if waiting:  # the message only says for how long
            return f"{waiting.reason}: {ended}"
        return str(self.state.terminated or "")


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
