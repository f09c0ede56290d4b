"""Reading certificates: what a PEM text holds, whether a key belongs to it."""

import datetime as dt
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Certificate:
    """One certificate, as far as people and renewals ask about it."""

    x509: x509.Certificate

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of its DER bytes, in hex."""
        return hashlib.sha256(self.x509.public_bytes(serialization.Encoding.DER)).hexdigest()

    @property
    def pem(self) -> bytes:
        """Its text."""
        return self.x509.public_bytes(serialization.Encoding.PEM)

    @property
    def subject(self) -> str:
        """Whose it is, in one line."""
        return self.x509.subject.rfc4514_string()

    @property
    def issuer(self) -> str:
        """Who signed it, in one line."""
        return self.x509.issuer.rfc4514_string()

    @property
    def begins(self) -> dt.datetime:
        """When it becomes valid."""
        return self.x509.not_valid_before_utc

    @property
    def ends(self) -> dt.datetime:
        """When it is no longer valid."""
        return self.x509.not_valid_after_utc

    @property
    def due(self) -> dt.datetime:
        """When it is to be renewed: with a third of its lifetime left."""
        return self.ends - (self.ends - self.begins) / 3

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names and addresses that it is for."""
        try:
            names = self.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            return ()
        addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
        return (*names.get_values_for_type(x509.DNSName), *addresses)

    def holds_at(self, now: dt.datetime) -> bool:
        """Say whether it is valid at a time."""
        return self.begins <= now < self.ends

    @property
    def may_sign(self) -> bool:
        """Whether a client takes what it signs: it says that it is a CA, and keeps no such use from its key."""
        try:
            extensions = self.x509.extensions
            if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                return False
            return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        except x509.ExtensionNotFound as missing:
            return missing.oid == x509.KeyUsage.oid
        except ValueError:
            return False

    def is_signed_by(self, authority: "Certificate") -> bool:
        """Say whether this authority's key made its signature."""
        try:
            self.x509.verify_directly_issued_by(authority.x509)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True

    def belongs_to(self, key: bytes) -> bool:
        """Say whether this private key (PEM) is the one to it."""
        try:
            public = serialization.load_pem_private_key(key, None).public_key()
            return public == self.x509.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return False


def certificates(pem: bytes) -> tuple[Certificate, ...]:
    """Return the certificates in a PEM text, in their order, without those that can't be read."""
    found = []
    for block in _BLOCK.findall(pem):
        try:
            found.append(Certificate(x509.load_pem_x509_certificate(block)))
        except (ValueError, UnsupportedAlgorithm):
            continue
    return tuple(found)


def private_key(pem: bytes) -> bytes:
    """Return the first private key in a PEM text, as it stands there; empty where there is none."""
    found = _KEY.search(pem)
    return found[0] + b"\n" if found else b""
