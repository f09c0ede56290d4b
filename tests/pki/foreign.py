"""Certificates that tokenguard wouldn't make, but may be given: keys and extensions of other kinds."""

import datetime as dt
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from webhook.pki.make import Pair

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
CA = (x509.BasicConstraints(ca=True, path_length=None),)
"""The extensions that a CA needs, and no more."""


def usage(**uses: bool) -> x509.KeyUsage:
    """Return a KeyUsage with these uses and no others."""
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{name: uses.get(name, False) for name in names})


def named(*names: str) -> x509.SubjectAlternativeName:
    """Return the extension that says which DNS names a certificate is for."""
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])


def foreign(
    subject: str,
    *extensions: x509.ExtensionType,
    by: Pair | None = None,
    key: Any = None,
    now: dt.datetime = NOW,
    days: int = 90,
) -> Pair:
    """Return a certificate with these extensions and its key, signed `by` another one, or by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signing = serialization.load_pem_private_key(by.key, None) if by else key
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.load_pem_x509_certificate(by.certificate).subject if by else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(signing, None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return Pair(made.public_bytes(serialization.Encoding.PEM), pem(key))


def pem(key: Any, password: str = "") -> bytes:
    """Return a private key's text."""
    hidden = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
