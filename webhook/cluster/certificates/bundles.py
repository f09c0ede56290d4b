"""The two webhook configurations: which CAs the API server trusts when it calls the webhook (`caBundle`)."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from webhook.cluster.objects import Object, Page, Resource
from webhook.cluster.transport import ApiError, Transport

NAME = "tokenguard"
KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_CONFLICT = 409


class _ClientConfig(msgspec.Struct, rename={"ca_bundle": "caBundle"}):
    ca_bundle: bytes = b""


class _Webhook(msgspec.Struct, rename="camel"):
    name: str = ""
    client_config: _ClientConfig = msgspec.field(default_factory=_ClientConfig)


class _Configuration(Object):
    webhooks: list[_Webhook] | None = None


@dataclass(frozen=True)
class Configuration:
    """A webhook configuration: the bundle (PEM) of each of its webhooks by the webhook's name."""

    kind: str
    bundles: dict[str, bytes]
    version: str

    def __str__(self) -> str:
        return f"{self.kind}/{NAME}"

    def trusts(self, bundle: bytes) -> bool:
        """Say whether every webhook in it has this bundle."""
        return all(held == bundle for held in self.bundles.values())


def resources() -> Iterator[Resource[Object]]:
    """Yield the two configurations as resources to watch."""
    for kind in KINDS:
        yield Resource(kind, _path(kind), Object, f"metadata.name={NAME}")


def read(transport: Transport) -> tuple[Configuration, ...]:
    """Return those of the two that are there. Raises `ApiError`."""
    found: list[Configuration] = []
    for kind in KINDS:
        body = transport.get(_path(kind), {"fieldSelector": f"metadata.name={NAME}"}, "application/json")
        try:
            items = msgspec.json.decode(body, type=Page[_Configuration]).items or []
        except msgspec.DecodeError as error:
            raise ApiError(0, f"{kind}/{NAME} can't be read: {error}") from error
        for one in items[:1]:
            bundles = {webhook.name: webhook.client_config.ca_bundle for webhook in one.webhooks or ()}
            found.append(Configuration(kind, bundles, one.metadata.resource_version))
    return tuple(found)


def inject(transport: Transport, configuration: Configuration, bundle: bytes) -> bool:
    """Have every webhook in a configuration trust `bundle` (PEM), and leave all else as it is.

    Return False where the configuration has changed since it was read. Raises `ApiError`.
    """
    encoded = base64.b64encode(bundle).decode()
    webhooks = [{"name": name, "clientConfig": {"caBundle": encoded}} for name in configuration.bundles]
    patch = {"metadata": {"resourceVersion": configuration.version}, "webhooks": webhooks}
    try:
        transport.patch(f"{_path(configuration.kind)}/{NAME}", patch)
    except ApiError as error:
        if error.status == _CONFLICT:
            return False
        raise
    return True


def _path(kind: str) -> str:
    return f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}s"
