"""Since when tokenguard is called, and since when the policy is as it is: what a scan concludes admissions from."""

import datetime as dt

import msgspec

from webhook.cluster.api_types import BY_NAME, ApiObject, ConfigMap, Metadata, Resource, config_map

_NAME = "tokenguard"
_PATH = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


class _CreatedMetadata(Metadata):
    creation_timestamp: dt.datetime | None = None


class ValidatingConfiguration(ApiObject):
    """The validating webhook configuration, as PartialObjectMetadata."""

    metadata: _CreatedMetadata = msgspec.field(default_factory=_CreatedMetadata)


WEBHOOK = Resource(
    "validatingwebhookconfigurations", _PATH, ValidatingConfiguration, f"{BY_NAME}{_NAME}", metadata_only=True
)


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
    found = config_map(namespace, name)
    return Resource(found.name, found.path, PolicyObject, found.field_selector)
