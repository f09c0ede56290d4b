"""The Secret that holds the CA and the serving certificate (type kubernetes.io/tls, with ca.crt and ca.key beside)."""

import base64
from dataclasses import dataclass, fields

import msgspec

from webhook.cluster.objects import Object, Page, Resource
from webhook.cluster.transport import CONFLICT, ApiError, Transport
from webhook.pki.renewal import Kept

NAMES = {"bundle": "ca.crt", "authority_key": "ca.key", "certificate": "tls.crt", "key": "tls.key"}
"""Where each part of what is kept stands in the Secret."""


class _Data(msgspec.Struct):
    bundle: bytes = msgspec.field(name=NAMES["bundle"], default=b"")
    authority_key: bytes = msgspec.field(name=NAMES["authority_key"], default=b"")
    certificate: bytes = msgspec.field(name=NAMES["certificate"], default=b"")
    key: bytes = msgspec.field(name=NAMES["key"], default=b"")


class _Secret(Object):
    data: _Data | None = None


@dataclass(frozen=True)
class Found:
    """What the Secret holds, and which version of it that is; no version where there is no Secret."""

    kept: Kept
    version: str = ""


class TlsSecret:
    """One Secret, read and written whole."""

    def __init__(self, where: str) -> None:
        """Take its `namespace/name`."""
        self.namespace, _, self.name = where.partition("/")
        self._path = f"/api/v1/namespaces/{self.namespace}/secrets"
        self.resource: Resource[Object] = Resource("certificate", self._path, Object, f"metadata.name={self.name}")

    def read(self, transport: Transport) -> Found:
        """Return what it holds now. Raises `ApiError`."""
        body = transport.get(self._path, {"fieldSelector": self.resource.selector}, "application/json")
        try:
            items = msgspec.json.decode(body, type=Page[_Secret]).items or []
        except msgspec.DecodeError:  # whose text may quote what was read
            raise ApiError(0, f"Secret {self.namespace}/{self.name} can't be read") from None
        if not items:
            return Found(Kept())
        data = items[0].data or _Data()
        kept = Kept(*(getattr(data, field.name) for field in fields(Kept)))
        return Found(kept, items[0].metadata.resource_version)

    def write(self, transport: Transport, kept: Kept, version: str) -> bool:
        """Put this in place of what that version of it holds, or make it where `version` is empty.

        Return False where somebody else was first: then what is there now counts. Raises `ApiError`.
        """
        data = {name: base64.b64encode(getattr(kept, part)).decode() for part, name in NAMES.items()}
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
