"""Verifies a server's certificate like the API server, with the rules of Go's crypto/x509.

They are laxer than the web's rules: a CA needs no KeyUsage, no key identifiers and no name, the validity is unlimited,
and a certificate that is itself in the bundle needs no CA. Only keys are stricter here: Ed25519 and RSA with less than
2048 bits are rejected.
"""

import datetime as dt
import re
from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    ServerVerifier,
    Store,
    VerificationError,
)

from webhook.pki.certificate import Certificate, parse_certificates
from webhook.pki.san import to_general_name

_FOR_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_MESSAGES = {
    "subjectAltName": "the certificate is not valid for {}",
    "exhausted with no interior errors": "no CA in the bundle signed the certificate",
    "signature does not match": "no CA in the bundle signed the certificate",  # although the name of the issuer matches
    "not valid at validation time": "the CA of the certificate is expired or not yet valid",
    "no basicConstraints": "the issuer is not a CA (no basicConstraints)",
    "basicConstraints.cA must": "the issuer is not a CA (basicConstraints without cA)",
    "Forbidden public key": "unsupported type of the CA's key",
    "RSA key is too weak": "the CA's RSA key has less than 2048 bits",
}
"""Plain words for the verifier's messages; the name that the client calls takes the place of `{}`."""


def verification_error(chain: Iterable[Certificate], bundle: bytes, name: str, now: dt.datetime) -> str:
    """Return why a client that trusts `bundle` (PEM) rejects a server with this chain and name, or ''.

    `name` is the DNS name or address that the client calls. `chain` begins with the server's certificate.
    """
    leaf, *intermediates = chain
    trusted = parse_certificates(bundle)
    if not trusted:
        return "the bundle contains no certificate"
    if not leaf.is_valid_at(now):
        return "the certificate is expired or not yet valid"
    try:
        _verifier(trusted, name, now).verify(leaf.x509, [certificate.x509 for certificate in intermediates])
    except (VerificationError, ValueError) as error:
        return _message(error, name)
    return ""


def _verifier(trusted: Iterable[Certificate], name: str, now: dt.datetime) -> ServerVerifier:
    anything = Criticality.AGNOSTIC
    authorities = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, anything, None)
        .may_be_present(x509.KeyUsage, anything, _may_sign)
        .may_be_present(x509.ExtendedKeyUsage, anything, _for_servers)
    )
    servers = (
        ExtensionPolicy.permit_all()
        .require_present(x509.SubjectAlternativeName, anything, None)
        .may_be_present(x509.ExtendedKeyUsage, anything, _for_servers)
    )
    store = Store([certificate.x509 for certificate in trusted])
    builder = PolicyBuilder().store(store).time(now.astimezone(dt.UTC).replace(tzinfo=None))
    policy = builder.extension_policies(ca_policy=authorities, ee_policy=servers)
    return policy.build_server_verifier(to_general_name(name))


def _may_sign(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage and not usage.key_cert_sign:
        raise ValueError("the CA may not sign certificates (keyUsage lacks keyCertSign)")


def _for_servers(_policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage and not _FOR_SERVERS & set(usage):
        raise ValueError("not for servers (extendedKeyUsage lacks serverAuth)")


def _message(error: Exception, name: str) -> str:
    """Return the verifier's reason in one line and in plain words."""
    text = " ".join(str(error).split()).partition(" (encountered processing")[0]
    plain = (message.format(name) for words, message in _MESSAGES.items() if words in text)
    return next(plain, re.sub(r"^.*(candidates exhausted|validation failed|ValueError): ", "", text))
