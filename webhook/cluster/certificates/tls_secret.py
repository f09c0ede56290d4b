"""The Secret that holds the CA and the serving certificate (type kubernetes.io/tls, with ca.crt and ca.key beside)."""

import base64
from dataclasses import dataclass
from typing import Any

import msgspec

from webhook.cluster.api_types import ApiObject, Page, Resource
from webhook.cluster.transport import CONFLICT, ApiError, Transport
from webhook.pki.rotation import StoredCertificates

NAMES = {"bundle": "ca.crt", "ca_key": "ca.key", "certificate": "tls.crt", "key": "tls.key"}
"""Where each part of what is stored stands in the Secret."""


class _Served(msgspec.Struct):
    certificate: bytes = msgspec.field(name=NAMES["certificate"], default=b"")
    key: bytes = msgspec.field(name=NAMES["key"], default=b"")


class _Data(_Served):
    bundle: bytes = msgspec.field(name=NAMES["bundle"], default=b"")
    ca_key: bytes = msgspec.field(name=NAMES["ca_key"], default=b"")


class _ServedSecret(ApiObject):
    data: _Served | None = None


class _Secret(ApiObject):
    data: _Data | None = None


@dataclass(frozen=True)
class SecretVersion:
    """What the Secret holds, and which version of it that is; no version where there is no Secret."""

    stored: StoredCertificates
    version: str = ""


class TlsSecret:
    """One Secret, read and written whole."""

    def __init__(self, where: str) -> None:
        """Take its `namespace/name`."""
        self.namespace, _, self.name = where.partition("/")
        self._path = f"/api/v1/namespaces/{self.namespace}/secrets"
        self.resource = Resource("certificate", self._path, ApiObject, f"metadata.name={self.name}", metadata_only=True)

    def read(self, transport: Transport, *, signs: bool = True) -> SecretVersion:
        """Return what it holds now; for whoever doesn't sign, what is served alone. Raises `ApiError`."""
        body = transport.get(self._path, {"fieldSelector": self.resource.field_selector}, "application/json")
        kind: Any = Page[_Secret] if signs else Page[_ServedSecret]
        try:
            items = msgspec.json.decode(body, type=kind).items or []
        except msgspec.DecodeError:  # whose text may quote what was read
            raise ApiError(0, f"Secret {self.namespace}/{self.name} can't be read") from None
        if not items:
            return SecretVersion(StoredCertificates())
        data = items[0].data or _Data()
        stored = {name: getattr(data, name) for name in data.__struct_fields__}
        return SecretVersion(StoredCertificates(**stored), items[0].metadata.resource_version)

    def write(self, transport: Transport, stored: StoredCertificates, version: str) -> bool:
        """Put this in place of what that version of it holds, or make it where `version` is empty.

        Return False where somebody else was first: then what is there now counts. Raises `ApiError`.
        """
        data = {name: base64.b64encode(getattr(stored, part)).decode() for part, name in NAMES.items()}
        try:
            if version:
                transport.patch(f"{self._path}/{self.name}", {"metadata": {"resourceVersion": version}, "data": data})
            else:
                meta = {"name": self.name, "namespace": self.namespace}
                kind = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
                transport.post(self._path, {**kind, "metadata": meta, "data": data})
        except ApiError as error:
            if error.status == CONFLICT:
                return False
            raise
        return True
