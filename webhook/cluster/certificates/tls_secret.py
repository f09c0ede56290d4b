"""The Secret with the CA and the serving certificate: type kubernetes.io/tls, with ca.crt and ca.key."""

import base64
from dataclasses import dataclass
from typing import Any

import msgspec

from webhook.cluster.api_types import ApiObject, Page, Resource
from webhook.cluster.transport import CONFLICT, ApiError, Transport
from webhook.pki.rotation import StoredCertificates

KEYS = {
    "bundle": "ca.crt", "ca_key": "ca.key", "certificate": "tls.crt", "key": "tls.key", "revoked": "revoked-ca.crt",
}  # fmt: skip
"""The Secret's key of each field of `StoredCertificates`."""


class _ServedData(msgspec.Struct):
    certificate: bytes = msgspec.field(name=KEYS["certificate"], default=b"")
    key: bytes = msgspec.field(name=KEYS["key"], default=b"")


class _Data(_ServedData):
    bundle: bytes = msgspec.field(name=KEYS["bundle"], default=b"")
    ca_key: bytes = msgspec.field(name=KEYS["ca_key"], default=b"")
    revoked: bytes = msgspec.field(name=KEYS["revoked"], default=b"")


class _ServedSecret(ApiObject):
    data: _ServedData | None = None


class _Secret(ApiObject):
    data: _Data | None = None


@dataclass(frozen=True)
class SecretVersion:
    """The content of the Secret and its resourceVersion, which is empty if there is no Secret."""

    stored: StoredCertificates
    version: str = ""


class TlsSecret:
    """One Secret, read and written as a whole."""

    def __init__(self, name: str) -> None:
        """Refer to the Secret `namespace/name`."""
        self.namespace, _, self.name = name.partition("/")
        self._path = f"/api/v1/namespaces/{self.namespace}/secrets"
        self.resource = Resource("certificate", self._path, ApiObject, f"metadata.name={self.name}", metadata_only=True)

    def __str__(self) -> str:
        return f"Secret {self.namespace}/{self.name}"

    def read(self, transport: Transport, *, signs: bool = True) -> SecretVersion:
        """Return the current content; without `signs` only what is served. Raises `ApiError`."""
        body = transport.get(self._path, {"fieldSelector": self.resource.field_selector}, "application/json")
        kind: Any = Page[_Secret] if signs else Page[_ServedSecret]
        try:
            items = msgspec.json.decode(body, type=kind).items or []
        except msgspec.DecodeError:  # its message may quote the content
            raise ApiError(0, f"cannot decode {self}") from None
        if not items:
            return SecretVersion(StoredCertificates())
        stored = StoredCertificates(**msgspec.structs.asdict(items[0].data or _Data()))
        return SecretVersion(stored, items[0].metadata.resource_version)

    def write(self, transport: Transport, stored: StoredCertificates, version: str) -> bool:
        """Replace the content that has this `version`, or create the Secret if that is empty.

        Return False if someone else was faster. Raises `ApiError`.
        """
        content = {key: getattr(stored, field) for field, key in KEYS.items()}
        data = {key: base64.b64encode(value).decode() or None for key, value in content.items()}  # None: no such key
        try:
            if version:
                transport.patch(f"{self._path}/{self.name}", {"metadata": {"resourceVersion": version}, "data": data})
            else:
                meta = {"name": self.name, "namespace": self.namespace}
                kind = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
                existing = {key: value for key, value in data.items() if value}
                transport.post(self._path, {**kind, "metadata": meta, "data": existing})
        except ApiError as error:
            if error.status == CONFLICT:
                return False
            raise
        return True
