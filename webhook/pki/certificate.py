"""Parses certificates and matches them with keys."""

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
    """One parsed certificate."""

    x509: x509.Certificate

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of its DER bytes, in hex."""
        return hashlib.sha256(self.x509.public_bytes(serialization.Encoding.DER)).hexdigest()

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.x509.public_bytes(serialization.Encoding.PEM)

    @property
    def subject(self) -> str:
        """The subject in one line."""
        return self.x509.subject.rfc4514_string()

    @property
    def issuer(self) -> str:
        """The issuer in one line."""
        return self.x509.issuer.rfc4514_string()

    @property
    def not_before(self) -> dt.datetime:
        """The start of its validity."""
        return self.x509.not_valid_before_utc

    @property
    def not_after(self) -> dt.datetime:
        """The end of its validity."""
        return self.x509.not_valid_after_utc

    @property
    def renew_at(self) -> dt.datetime:
        """When to renew it: with a third of its lifetime left."""
        return self.not_after - (self.not_after - self.not_before) / 3

    @property
    def names(self) -> tuple[str, ...]:
        """Its DNS names and addresses."""
        try:
            names = self.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            return ()
        addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
        return (*names.get_values_for_type(x509.DNSName), *addresses)

    def is_valid_at(self, now: dt.datetime) -> bool:
        """Return whether it is valid at a time."""
        return self.not_before <= now < self.not_after

    @property
    def can_sign(self) -> bool:
        """Whether clients accept certificates that it signs: it is a CA, and its KeyUsage allows signing."""
        try:
            extensions = self.x509.extensions
            if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                return False
            return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        except x509.ExtensionNotFound as missing:
            return missing.oid == x509.KeyUsage.oid
        except ValueError:
            return False

    def is_signed_by(self, ca: "Certificate") -> bool:
        """Return whether the CA's key made its signature."""
        try:
            self.x509.verify_directly_issued_by(ca.x509)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True

    def matches_key(self, key: bytes) -> bool:
        """Return whether this is its private key (PEM)."""
        try:
            public = serialization.load_pem_private_key(key, None).public_key()
            return public == self.x509.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return False


def parse_certificates(pem: bytes) -> tuple[Certificate, ...]:
    """Return the readable certificates in a PEM text, in their order."""
    certificates = []
    for block in _BLOCK.findall(pem):
        try:
            certificates.append(Certificate(x509.load_pem_x509_certificate(block)))
        except (ValueError, UnsupportedAlgorithm):
            continue
    return tuple(certificates)


def find_private_key(pem: bytes) -> bytes:
    """Return the first private key in a PEM text, or nothing."""
    match = _KEY.search(pem)
    return match[0] + b"\n" if match else b""


def find_pair_error(certificate: bytes, key: bytes, certificate_name: str, key_name: str) -> str:
    """Return why a server cannot use this certificate and key (PEM), or ''. The names are their sources."""
    certificates = parse_certificates(certificate)
    if not certificates:
        return f"{certificate_name}: no certificate in PEM format"
    try:
        serialization.load_pem_private_key(key, None)
    except TypeError:
        return f"{key_name}: the key is encrypted; give one without a password"
    except (ValueError, UnsupportedAlgorithm):
        return f"{key_name}: no private key in PEM can be read in it"
    return (
        "" if certificates[0].matches_key(key) else f"{describe_pair(certificate_name, key_name)} don't belong together"
    )


def describe_pair(certificate_name: str, key_name: str) -> str:
    """Return the sources of a certificate and its key in words; they may be the same."""
    is_same = certificate_name == key_name
    return f"certificate and key in {key_name}" if is_same else f"{certificate_name} and {key_name}"
