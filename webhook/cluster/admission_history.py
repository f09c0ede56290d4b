"""Since when and where tokenguard is called, and since when the policy is as it is, to conclude admissions from."""

import datetime as dt
import re

import msgspec

from webhook.cluster.api_types import BY_NAME, ApiObject, ConfigMap, Metadata, Resource, config_map
from webhook.scan.webhook_scope import Requirement, WebhookScope

_NAME = "tokenguard"
_PODS = "pods.validate.tokenguard.svc"
_EXCLUDED = re.compile(r"!\(request\.namespace in '([a-z0-9,-]*)'\.split\(','\)\)")
"""The condition of manifests/components/exclude-namespaces."""
_PATH = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


class _CreatedMetadata(Metadata):
    creation_timestamp: dt.datetime | None = None


class _Expression(msgspec.Struct):
    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class _LabelSelector(msgspec.Struct, rename="camel"):
    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None


class _MatchCondition(msgspec.Struct):
    name: str = ""
    expression: str = ""


class _ValidatingWebhook(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace_selector: _LabelSelector | None = None
    match_conditions: list[_MatchCondition] | None = None


class ValidatingConfiguration(ApiObject):
    """The validating webhook configuration."""

    metadata: _CreatedMetadata = msgspec.field(default_factory=_CreatedMetadata)
    webhooks: list[_ValidatingWebhook] | None = None

    @property
    def scope(self) -> WebhookScope:
        """The namespaces whose pods it has evaluated."""
        webhook = next((webhook for webhook in self.webhooks or () if webhook.name == _PODS), None)
        if webhook is None:
            return WebhookScope()
        selector = webhook.namespace_selector or _LabelSelector()
        labels = (Requirement(key, "In", (value,)) for key, value in (selector.match_labels or {}).items())
        expressions = (
            Requirement(expression.key, expression.operator, tuple(expression.values or ()))
            for expression in selector.match_expressions or ()
        )
        conditions = (_EXCLUDED.fullmatch(condition.expression) for condition in webhook.match_conditions or ())
        names = (name for found in conditions if found for name in found[1].split(","))
        return WebhookScope((*labels, *expressions), frozenset(names))


WEBHOOK = Resource("validatingwebhookconfigurations", _PATH, ValidatingConfiguration, f"{BY_NAME}{_NAME}")


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
