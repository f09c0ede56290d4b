"""Certificates: the pair that is served and followed, and one that is made for a quick start."""

import datetime as dt
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVICE = "tokenguard.tokenguard.svc"
NAMES = ("localhost", "127.0.0.1", "::1", SERVICE)
_LIFETIME = dt.timedelta(days=365)
_HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """A server's certificate (with its chain), the key to it, and the CA that signed it; PEM."""

    certificate: bytes
    key: bytes
    authority: bytes


def self_signed(more_names: Iterable[str], now: dt.datetime) -> SelfSigned:
    """Return a certificate for localhost, the Service and `more_names`, good for a year from `now`.

    The CA's key is thrown away, so that nothing else can ever be signed by it. Raises ValueError where a name is
    neither a DNS name nor an address.
    """
    names = x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys((*NAMES, *more_names))])
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _subject("tokenguard self-signed CA")
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    authority = (
        _builder(ca_name, ca_name, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        _builder(_subject("tokenguard"), ca_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return SelfSigned(
        certificate.public_bytes(pem) + authority.public_bytes(pem),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        authority.public_bytes(pem),
    )


def server_context() -> ssl.SSLContext:
    """Return a context for a server, still without a certificate: TLS 1.2 or newer, HTTP/1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class ServedPair:
    """The certificate and key that are served; new ones are used for new connections, without a restart."""

    def __init__(self, private_folder: Path, certificate_name: str = "certificate", key_name: str = "key") -> None:
        """Take a folder that nobody else can read (a pair can be loaded from a file alone), and the two's names."""
        self._folder = private_folder
        self._names = certificate_name, key_name
        self.context = server_context()

    def use(self, certificate: bytes, key: bytes) -> bytes | tuple[str, ...]:
        """Serve this pair (PEM) from now on and return it as one; or say why it doesn't load, and serve the one before.

        The pair is tried on a context of its own first: half a pair would break the one in use.
        """
        pair = certificate + b"\n" + key
        try:
            self.restore(pair)
        except (ssl.SSLError, ValueError, OSError) as error:
            return (self._why_not(certificate, key, error),)
        return pair

    def restore(self, pair: bytes) -> None:
        """Serve a pair that `use` has returned. Raises what `ssl` raises where it doesn't load."""
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            file.write(pair)
            file.flush()
            for context in (server_context(), self.context):
                context.load_cert_chain(file.name, password=_no_password)

    def _why_not(self, certificate: bytes, key: bytes, error: Exception) -> str:
        """Say which of the two is wrong; OpenSSL's own reasons name neither."""
        certificate_name, key_name = self._names
        try:
            public = x509.load_pem_x509_certificate(certificate).public_key()
        except (ValueError, UnsupportedAlgorithm):
            return f"{certificate_name}: no certificate in PEM can be read in it"
        try:
            private = serialization.load_pem_private_key(key, None)
        except TypeError:
            return f"{key_name}: the key is encrypted; give one without a password"
        except (ValueError, UnsupportedAlgorithm):
            return f"{key_name}: no private key in PEM can be read in it"
        if public != private.public_key():
            return f"{certificate_name} and {key_name} don't belong together"
        reason = str(getattr(error, "reason", None) or "OpenSSL doesn't say why").replace("_", " ").lower()
        return f"{certificate_name} and {key_name} can't be used: {reason}"


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        labels = name.removeprefix("*.").split(".")
        if not all(label.replace("-", "a").isalnum() and label.isascii() and len(label) < 64 for label in labels):
            raise ValueError(f"{name!r} is neither a DNS name nor an address") from None
        return x509.DNSName(name)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HOUR)
        .not_valid_after(now + _LIFETIME)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
