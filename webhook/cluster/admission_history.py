"""Since when and where tokenguard is called, and since when the policy is as it is, to conclude admissions from."""

import datetime as dt

import msgspec

from webhook.cluster.api_types import (
    BY_NAME,
    ApiObject,
    ConfigMap,
    LabelSelector,
    MatchCondition,
    Metadata,
    Resource,
    config_map,
)
from webhook.core.manifests import read_manifests
from webhook.core.webhook_namespaces import WebhookScope, WebhookScopes, names_in_condition, uncallable

_NAME = "tokenguard"
_SUBJECTS = WebhookScopes._fields
_PATH = "/apis/admissionregistration.k8s.io/v1"


class _CreatedMetadata(Metadata):
    creation_timestamp: dt.datetime | None = None


class _ClientConfig(msgspec.Struct, rename="camel"):
    ca_bundle: str | None = None


class _Webhook(msgspec.Struct, rename="camel"):
    name: str = ""
    client_config: _ClientConfig = msgspec.field(default_factory=_ClientConfig)
    namespace_selector: LabelSelector | None = None
    match_conditions: list[MatchCondition] | None = None

    @property
    def scope(self) -> WebhookScope:
        """The namespaces in which it is called."""
        requirements = self.namespace_selector.requirements if self.namespace_selector else ()
        conditions = self.match_conditions or ()
        names = (name for condition in conditions for name in names_in_condition(condition.expression))
        return WebhookScope(requirements, frozenset(names))


class ScannedConfiguration(ApiObject):
    """A webhook configuration."""

    metadata: _CreatedMetadata = msgspec.field(default_factory=_CreatedMetadata)
    webhooks: list[_Webhook] | None = None

    @property
    def lacks_ca_bundle(self) -> bool:
        """Whether the API server cannot call one of its webhooks."""
        return bool(uncallable({webhook.name: webhook.client_config.ca_bundle for webhook in self.webhooks or ()}))

    @property
    def scopes(self) -> WebhookScopes:
        """The namespaces in which its webhooks are called."""
        scopes = {webhook.name: webhook.scope for webhook in self.webhooks or ()}
        return WebhookScopes(
            *(scopes.get(f"{subject}.validate.tokenguard.svc", WebhookScope()) for subject in _SUBJECTS)
        )


WEBHOOK, MUTATING_WEBHOOK = (
    Resource(plural, f"{_PATH}/{plural}", ScannedConfiguration, f"{BY_NAME}{_NAME}")
    for plural in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
)
"""The configurations. Without the mutating one, pods are created as their authors wrote them, or denied."""


def scopes_in_manifests(data: bytes) -> WebhookScopes | None:
    """Return the scopes of the validating webhook configuration in a file with manifests; None if it is not there."""
    for manifest in read_manifests(data).manifests:
        if (manifest.kind, manifest.name) == ("ValidatingWebhookConfiguration", _NAME):
            return msgspec.json.decode(manifest.raw, type=ScannedConfiguration).scopes
    return None


class _ManagedFields(msgspec.Struct, rename="camel"):
    time: dt.datetime | None = None
    fields_v1: dict[str, msgspec.Raw] = msgspec.field(name="fieldsV1", default_factory=dict)


class _PolicyMetadata(_CreatedMetadata):
    managed_fields: list[_ManagedFields] | None = None


class PolicyObject(ConfigMap):
    """The policy's ConfigMap, with who changed what of it and when."""

    metadata: _PolicyMetadata = msgspec.field(default_factory=_PolicyMetadata)

    @property
    def changed(self) -> dt.datetime | None:
        """When the data last changed, as the API server notes it."""
        times = [
            managed.time
            for managed in self.metadata.managed_fields or ()
            if managed.time and "f:data" in managed.fields_v1
        ]
        return max(times, default=self.metadata.creation_timestamp)


def policy_object(namespace: str, name: str) -> Resource[PolicyObject]:
    """Return the policy's ConfigMap as a resource."""
    resource = config_map(namespace, name)
    return Resource(resource.name, resource.path, PolicyObject, resource.field_selector)
