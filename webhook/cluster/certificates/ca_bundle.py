"""The two webhook configurations: the CAs that the API server trusts when it calls the webhook (`caBundle`)."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from webhook.cluster.api_types import ApiObject, Page, Resource
from webhook.cluster.transport import CONFLICT, ApiError, Transport

NAME = "tokenguard"
KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


class _Service(msgspec.Struct):
    namespace: str = ""
    name: str = ""


class _ClientConfig(msgspec.Struct, rename={"ca_bundle": "caBundle"}):
    ca_bundle: bytes = b""
    service: _Service | None = None
    url: str = ""


class _Webhook(msgspec.Struct, rename="camel"):
    name: str = ""
    client_config: _ClientConfig = msgspec.field(default_factory=_ClientConfig)


class _Configuration(ApiObject):
    webhooks: list[_Webhook] | None = None


class WebhookTrust(NamedTuple):
    """The CAs (PEM) and the name by which the API server verifies the certificate of a webhook, and the Service.

    `service` is namespace and name; None if the webhook is called by a URL.
    """

    bundle: bytes
    host: str
    service: tuple[str, str] | None = None


@dataclass(frozen=True)
class WebhookConfiguration:
    """A webhook configuration, with its webhooks by name."""

    kind: str
    webhooks: dict[str, WebhookTrust]
    version: str

    def __str__(self) -> str:
        return f"{self.kind}/{NAME}"

    def trusts(self, bundle: bytes) -> bool:
        """Return whether every webhook has this bundle."""
        return all(webhook.bundle == bundle for webhook in self.webhooks.values())


def resources() -> Iterator[Resource[ApiObject]]:
    """Yield the two configurations as resources to watch."""
    for kind in KINDS:
        yield Resource(kind, _path(kind), ApiObject, f"metadata.name={NAME}", metadata_only=True)


def read_configurations(transport: Transport) -> tuple[WebhookConfiguration, ...]:
    """Return the existing ones of the two. Raises `ApiError`."""
    configurations: list[WebhookConfiguration] = []
    for kind in KINDS:
        body = transport.get(_path(kind), {"fieldSelector": f"metadata.name={NAME}"}, "application/json")
        try:
            items = msgspec.json.decode(body, type=Page[_Configuration]).items or []
        except msgspec.DecodeError as error:
            raise ApiError(0, f"cannot decode {kind}/{NAME}: {error}") from error
        for item in items[:1]:
            webhooks = {webhook.name: _trust(webhook.client_config) for webhook in item.webhooks or ()}
            configurations.append(WebhookConfiguration(kind, webhooks, item.metadata.resource_version))
    return tuple(configurations)


def set_ca_bundle(transport: Transport, configuration: WebhookConfiguration, bundle: bytes) -> bool:
    """Set `bundle` (PEM) in every webhook of a configuration, and change nothing else.

    Return False if the configuration has changed since it was read. Raises `ApiError`.
    """
    encoded = base64.b64encode(bundle).decode()
    webhooks = [{"name": name, "clientConfig": {"caBundle": encoded}} for name in configuration.webhooks]
    patch = {"metadata": {"resourceVersion": configuration.version}, "webhooks": webhooks}
    try:
        transport.patch(f"{_path(configuration.kind)}/{NAME}", patch)
    except ApiError as error:
        if error.status == CONFLICT:
            return False
        raise
    return True


def _trust(client: _ClientConfig) -> WebhookTrust:
    service = client.service
    host = f"{service.name}.{service.namespace}.svc" if service else urlsplit(client.url).hostname
    target = (service.namespace, service.name) if service else None
    return WebhookTrust(client.ca_bundle, host or "", target)


def _path(kind: str) -> str:
    return f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}s"
