"""Certificates from elsewhere, with other keys and extensions than tokenguard's."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from webhook.pki.issue import KeyPair

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
NAME = "localhost"
DAY = dt.timedelta(days=1)
CA = (x509.BasicConstraints(ca=True, path_length=None),)
"""The extensions that a CA needs, and no more."""

CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
"""The extended key usage of a certificate of a client."""


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
    by: KeyPair | None = None,
    key: Any = None,
    now: dt.datetime = NOW,
    days: int = 90,
) -> KeyPair:
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
    return KeyPair(made.public_bytes(serialization.Encoding.PEM), pem(key))


def pem(key: Any, password: str = "") -> bytes:
    """Return a private key's text."""
    hidden = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


@dataclass(frozen=True)
class Case:
    """A server's chain and key, a client's bundle, and why the client rejects it, or ''.

    `go` is whether Go accepts it, if that differs.
    """

    served: bytes
    key: bytes
    bundle: bytes
    why: str = ""
    go: bool | None = None

    @property
    def is_accepted_by_go(self) -> bool:
        return not self.why if self.go is None else self.go


def cases(now: dt.datetime = NOW) -> dict[str, Case]:
    """Return cases for a client that calls `NAME` at this time."""

    def made(subject: str, *extensions: x509.ExtensionType, **how: Any) -> KeyPair:
        return foreign(subject, *extensions, **{"now": now, **how})

    def served(by: KeyPair, *between: KeyPair, bundle: KeyPair | None = None, why: str = "", **how: Any) -> Case:
        extensions = how.pop("extensions", (named(NAME),))
        leaf = made("served", *extensions, by=by, **how)
        chain = leaf.certificate + b"".join(authority.certificate for authority in between)
        return Case(chain, leaf.key, (bundle or by).certificate, why)

    def by_key(key: Any, why: str) -> Case:
        case = served(made("CA", *CA, key=key))
        return Case(case.served, case.key, case.bundle, why, go=True)

    plain, short = made("CA", *CA), made("CA", x509.BasicConstraints(ca=True, path_length=0))
    middle, under_short, no_ca = (made("middle", *CA, by=plain), made("middle", *CA, by=short), made("no CA", by=plain))
    alone, other = made("alone", named(NAME)), made("CA", *CA)
    client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    unknown = "no CA in the bundle signed the certificate"
    no_server = "not for servers (extendedKeyUsage lacks serverAuth)"
    return {
        "CA without keyUsage": served(plain),
        "CA with keyUsage": served(made("CA", *CA, usage(key_cert_sign=True))),
        "CA with RSA": served(made("CA", *CA, key=rsa.generate_private_key(65537, 2048))),
        "ten years": served(made("CA", *CA, days=3650), days=3600),
        "itself in the bundle": Case(alone.certificate, alone.key, alone.certificate),
        "intermediate that is sent": served(middle, middle, bundle=plain),
        "intermediate in the bundle": served(middle),
        "intermediate that is not sent": served(middle, bundle=plain, why=unknown),
        "signed by another": served(plain, bundle=other, why=unknown),
        "itself not in the bundle": Case(alone.certificate, alone.key, plain.certificate, unknown),
        "CA for something else": served(
            made("CA", *CA, usage(digital_signature=True)),
            why="the CA may not sign certificates (keyUsage lacks keyCertSign)",
        ),
        "no basicConstraints": served(made("CA"), why="the issuer is not a CA (no basicConstraints)"),
        "no CA in between": served(no_ca, no_ca, bundle=plain, why="the issuer is not a CA (no basicConstraints)"),
        "no CA": served(
            made("no CA", x509.BasicConstraints(ca=False, path_length=None)),
            why="the issuer is not a CA (basicConstraints without cA)",
        ),
        "path too long": served(under_short, under_short, bundle=short, why="path length constraint violated"),
        "another name": served(
            plain, extensions=(named("example.com"),), why=f"the certificate is not valid for {NAME}"
        ),
        "no name": served(plain, extensions=(), why=f"the certificate is not valid for {NAME}"),
        "for clients": served(plain, extensions=(named(NAME), client), why=no_server),
        "CA for clients": served(made("CA", *CA, client), why=no_server),
        "ended": served(plain, now=now - 90 * DAY, days=89, why="the certificate is expired or not yet valid"),
        "not begun": served(plain, now=now + DAY, why="the certificate is expired or not yet valid"),
        "CA ended": served(
            made("CA", *CA, now=now - 90 * DAY, days=89),
            why="the CA of the certificate is expired or not yet valid",
        ),
        "Ed25519": by_key(ed25519.Ed25519PrivateKey.generate(), "unsupported type of the CA's key"),
        "short RSA": by_key(rsa.generate_private_key(65537, 1024), "the CA's RSA key has less than 2048 bits"),
    }
