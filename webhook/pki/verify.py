"""Whether a client would accept a server's certificate, judged as the API server judges: by Go's crypto/x509.

Go asks for less than the web's own rules do, and so does this: a CA needs no KeyUsage, no key identifiers and no name,
a certificate may live for as long as it likes, and one that is itself in the bundle needs no CA. What stays stricter
is the kind of key that may sign: Ed25519 and RSA of less than 2048 bits are refused here, not there.
"""

import contextlib
import datetime as dt
import ipaddress
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
from webhook.pki.san import normalize_name

_FOR_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_PLAINLY = {
    "exhausted with no interior errors": "no CA in it has signed the certificate",
    "signature does not match": "no CA in it has signed the certificate",  # though one has the name of the one that has
    "not valid at validation time": "the CA that has signed the certificate isn't valid at this time",
    "no basicConstraints": "what has signed the certificate is no CA (it has no basicConstraints)",
    "basicConstraints.cA must": "what has signed the certificate is no CA (its basicConstraints say so)",
    "Forbidden public key": "its CA has a key of a kind that can't be checked here",
    "RSA key is too weak": "its CA's RSA key is too short to be checked here",
}
"""What the verifier's own words mean to people."""


def verification_error(chain: Iterable[Certificate], bundle: bytes, name: str, now: dt.datetime) -> str:
    """Return why a client that trusts `bundle` (PEM) refuses a server with this chain under this name; or ''.

    `name` is a DNS name or an address, as the client calls it. `chain` begins with the server's own certificate.
    """
    leaf, *between = chain
    trusted = parse_certificates(bundle)
    if not trusted:
        return "it holds no certificate"
    if not leaf.is_valid_at(now):
        return "the certificate isn't valid at this time"
    if not _is_for(leaf, name):
        return f"the certificate is not for {name}"
    try:
        _verifier(trusted, name, now).verify(leaf.x509, [one.x509 for one in between])
    except (VerificationError, ValueError) as error:
        return _told(error)
    return ""


def _is_for(leaf: Certificate, name: str) -> bool:
    """Say whether a certificate is for a name."""
    with contextlib.suppress(ValueError):
        name = normalize_name(name)
    _, _, parent = name.partition(".")
    return any(one.lower() in {name, f"*.{parent}"} for one in leaf.names)


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
    store = Store([one.x509 for one in trusted])
    builder = PolicyBuilder().store(store).time(now.astimezone(dt.UTC).replace(tzinfo=None))
    policy = builder.extension_policies(ca_policy=authorities, ee_policy=servers)
    return policy.build_server_verifier(_subject(name))


def _subject(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _may_sign(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage and not usage.key_cert_sign:
        raise ValueError("the CA's key is not for signing certificates (its keyUsage lacks keyCertSign)")


def _for_servers(_policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage and not _FOR_SERVERS & set(usage):
        raise ValueError("it is not for servers (its extendedKeyUsage lacks serverAuth)")


def _told(error: Exception) -> str:
    """Return the verifier's reason in one line, in words about certificates and not about its search."""
    text = " ".join(str(error).split()).partition(" (encountered processing")[0]
    plain = (told for words, told in _PLAINLY.items() if words in text)
    return next(plain, re.sub(r"^.*(candidates exhausted|validation failed|ValueError): ", "", text))
