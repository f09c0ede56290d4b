"""Creates CAs and the serving certificates that they sign: ECDSA P-256, PEM.

A CA from elsewhere may have another type of key. Every certificate is valid from one hour before its creation, for
clients whose clock is behind.
"""

import datetime as dt
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from webhook.pki.certificate import Certificate
from webhook.pki.san import normalize_name, to_general_name

CA_LIFETIME = dt.timedelta(days=365)
SERVING_LIFETIME = dt.timedelta(days=30)
BACKDATING = dt.timedelta(hours=1)
_CA_NAME = "tokenguard CA"
_LOCAL = ("localhost", "127.0.0.1", "::1")
_PEM = serialization.Encoding.PEM
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key; PEM. `repr` shows neither."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


def load_signing_key(pem: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """Return a CA's private key: ECDSA on a curve of TLS, or RSA with at least 2048 bits.

    Raises ValueError; the message continues after the name of the key's source.
    """
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise ValueError("is encrypted; provide it without a password") from None
    except (ValueError, UnsupportedAlgorithm):  # its text may quote the key
        raise ValueError("contains no readable private key (PEM)") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
        return key
    raise ValueError("has an unsupported type; use ECDSA P-256, P-384, P-521, or RSA with at least 2048 bits")


def create_ca(now: dt.datetime, lifetime: dt.timedelta = CA_LIFETIME) -> KeyPair:
    """Return a self-signed CA with a unique name, which may sign serving certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named(f"{_CA_NAME} {now:%Y-%m-%d} {secrets.token_hex(4)}")
    certificate = (
        _builder(name, name, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(_PEM), _key_bytes(key))


def is_created_here(ca: Certificate) -> bool:
    """Return whether it is a CA that `create_ca` made for a Secret; any other may have its key elsewhere, too."""
    lifetime = ca.not_after - ca.not_before
    return ca.subject.startswith(f"CN={_CA_NAME} ") and lifetime <= CA_LIFETIME + BACKDATING


def issue_certificate(
    ca: KeyPair, names: Iterable[str], now: dt.datetime, lifetime: dt.timedelta = SERVING_LIFETIME
) -> KeyPair:
    """Return a serving certificate for these DNS names and addresses, which expires no later than its CA.

    The chain does not contain the CA, which clients know. Raises ValueError if a name is invalid or the CA's key cannot
    sign.
    """
    alternatives = x509.SubjectAlternativeName(
        [to_general_name(name) for name in dict.fromkeys(map(normalize_name, names))]
    )
    signer = x509.load_pem_x509_certificate(ca.certificate)
    signing = load_signing_key(ca.key)
    key = ec.generate_private_key(ec.SECP256R1())
    lifetime = min(lifetime, signer.not_valid_after_utc - now)
    certificate = (
        _builder(_named("tokenguard"), signer.subject, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(_key_of(signer), critical=False)
        .sign(signing, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(_PEM), _key_bytes(key))


@dataclass(frozen=True, slots=True, repr=False)
class SelfSigned(KeyPair):
    """A serving certificate with its chain, its key, and its CA; PEM."""

    authority: bytes


def create_self_signed(more_names: Iterable[str], now: dt.datetime) -> SelfSigned:
    """Return a certificate for localhost and `more_names`, good for a year from `now`.

    The CA's key is thrown away, so that nothing else can ever be signed by it. Raises ValueError as `issue` does.
    """
    ca = create_ca(now)
    made = issue_certificate(ca, (*_LOCAL, *more_names), now, CA_LIFETIME)
    return SelfSigned(made.certificate + ca.certificate, made.key, ca.certificate)


def _key_of(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the signer's key identifier: the one in its own certificate, which need not be the usual hash."""
    try:
        named = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        named = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, lifetime: dt.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATING)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


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
