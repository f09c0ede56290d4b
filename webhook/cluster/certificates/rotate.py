"""A renewal that somebody asks for, before it is due; the replicas that manage the certificates go on with it."""

import datetime as dt

from webhook.cluster.certificates.replicas import asked_for
from webhook.cluster.certificates.secret import TlsSecret
from webhook.cluster.certificates.status import Status, read_status
from webhook.cluster.transport import Transport
from webhook.pki.rotation import add_new_ca, sign_new_certificate
from webhook.pki.san import valid_names

_MAKE = "a replica with --manage-certs makes what is missing; --tls-secret says where it is stored"


class RotationError(Exception):
    """It can't be begun; the message says why, and what to do."""


def rotate(transport: Transport, secret: TlsSecret, now: dt.datetime, *, authority: bool) -> str:
    """Begin a rotation, of the CA too where `authority` says so, and return what has been done.

    Raises `RotationError`, and `ApiError`.
    """
    where = f"Secret {secret.namespace}/{secret.name}"
    status = read_status(transport, secret, now)
    stored, serving = status.stored, status.stored.serving
    why_not = _why_not(status)
    if why_not or not serving:
        raise RotationError(f"{where} {why_not}")
    if not authority and not serving.is_signed_by(stored.cas[0]):
        raise RotationError(
            "a rotation of the CA is under way, and brings a new certificate once every API server can trust it"
        )
    if authority and not status.replicas:
        raise RotationError("no replica with --manage-certs has been heard of lately: nobody would take the next steps")
    names = valid_names(asked_for(status.replicas, serving.names))
    fresh = add_new_ca(stored, now) if authority else sign_new_certificate(stored, names, now)
    if fresh is None:
        raise RotationError(
            f"{where}: its CA can't sign: ca.key is not the key to the first CA in ca.crt, or no usable "
            "one. A replica with --manage-certs makes a new CA by itself"
        )
    if not secret.write(transport, fresh, status.found.version):
        raise RotationError(f"{where} was changed at the same moment: nothing was done; look at it, then try again")
    return f"{where}: a new CA has joined the bundle" if authority else f"{where}: a new certificate is signed"


def _why_not(status: Status) -> str:
    """Return why nothing can be signed that would do in the place of what is there; or ''."""
    stored, serving = status.stored, status.stored.serving
    if not status.found.version:
        return f"is not there: {_MAKE}"
    if not stored.certificate:
        return f"holds no certificate: {_MAKE}"
    if serving is None:
        return "holds a tls.key that doesn't belong to its tls.crt: a replica with --manage-certs signs a new pair"
    own = any(serving.is_signed_by(one) for one in stored.cas)
    if not (own and stored.ca_key):  # a CA's key may have been left there by another way
        return (
            "holds no CA to sign with: its certificate comes from elsewhere, and is renewed there "
            "(cert-manager: cmctl renew; by hand: tokenguard certs generate)"
        )
    return ""
