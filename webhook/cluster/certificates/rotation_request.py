"""Starts a rotation on request; the replicas that manage the certificates complete it."""

from typing import NamedTuple

from webhook.cluster.certificates.status import CertificateStatus, read_status
from webhook.cluster.certificates.tls_secret import TlsSecret
from webhook.cluster.transport import Transport
from webhook.core.errors import UserError
from webhook.pki.rotation import is_rejected, start_rotation

_CREATE = "a replica with --manage-certs creates it; --tls-secret names the Secret"


class RotationError(UserError):
    """The rotation cannot start; the message says why and what to do."""


class StartedRotation(NamedTuple):
    """What was done, and the fingerprints of the CAs that nothing trusts after the rotation."""

    text: str
    revoked: frozenset[str]


def rotate(transport: Transport, secret: TlsSecret, *, ca: bool) -> StartedRotation:
    """Start a rotation of the certificate or, with `ca` or if it cannot sign, of the CA.

    Raises `RotationError` or `ApiError`.
    """
    status = read_status(transport, secret)
    stored, serving = status.stored, status.stored.serving
    reason = _refusal_reason(status)
    if reason or not serving:
        raise RotationError(f"{secret} {reason}")
    now = transport.now()  # after the first answer, by the API server's clock
    if not (ca or serving.is_signed_by(stored.cas[0]) or is_rejected(stored, now)):
        raise RotationError(
            "a rotation of the CA is in progress; its new certificate follows when every API server trusts the new CA"
        )
    step = start_rotation(stored, now, ca=ca)
    if not secret.write(transport, step.stored, status.current.version):
        raise RotationError(f"{secret} changed at the same time; nothing was done, try again")
    is_replaced = step.stored.bundle != stored.bundle
    return StartedRotation(f"{secret}: {step.reason}", frozenset(ca.fingerprint for ca in stored.cas if is_replaced))


def _refusal_reason(status: CertificateStatus) -> str:
    """Return why tokenguard cannot sign a replacement, or ''."""
    stored, serving = status.stored, status.stored.serving
    if not status.current.version:
        return f"does not exist: {_CREATE}"
    if not stored.certificate:
        return f"contains no certificate: {_CREATE}"
    if serving is None:
        return "contains a tls.key that does not match its tls.crt: a replica with --manage-certs replaces both"
    if not (stored.ca_key and any(serving.is_signed_by(ca) for ca in stored.cas)):
        return (
            "contains no CA to sign with: its certificate comes from elsewhere and is renewed there "
            "(cert-manager: cmctl renew; by hand: tokenguard certs generate)"
        )
    return ""
