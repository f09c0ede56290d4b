"""A renewal that somebody asks for, before it is due; the replicas that manage the certificates go on with it."""

import datetime as dt

from webhook.cluster.certificates.secret import TlsSecret
from webhook.cluster.certificates.status import read_status
from webhook.cluster.transport import Transport
from webhook.pki.renewal import with_new_authority, with_new_certificate


class RotationError(Exception):
    """It can't be begun; the message says why, and what to do."""


def rotate(transport: Transport, secret: TlsSecret, now: dt.datetime, *, authority: bool) -> str:
    """Begin a rotation, of the CA too where `authority` says so, and return what has been done.

    Raises `RotationError`, and `ApiError`.
    """
    where = f"Secret {secret.namespace}/{secret.name}"
    status = read_status(transport, secret, now)
    serving = status.kept.serving
    own = serving is not None and any(serving.is_signed_by(one) for one in status.kept.authorities)
    names = serving.names if serving and own else ()  # a CA's key may have been left there by another way
    renewed = with_new_certificate(status.kept, names, now) if names else None
    if renewed is None:
        raise RotationError(
            f"{where} holds no CA to sign with: its certificate comes from elsewhere, and is renewed there "
            "(cert-manager: cmctl renew; by hand: tokenguard certs generate)"
        )
    if not authority and serving and not serving.is_signed_by(status.kept.authorities[0]):
        raise RotationError(
            "a rotation of the CA is under way, and brings a new certificate once every API server can trust it"
        )
    if authority and not status.replicas:
        raise RotationError("no replica with --manage-certs has been heard of lately: nobody would take the next steps")
    fresh = with_new_authority(status.kept, now) if authority else renewed
    if not secret.write(transport, fresh, status.found.version):
        raise RotationError(f"{where} was changed at the same moment: nothing was done; look at it, then try again")
    return f"{where}: a new CA has joined the bundle" if authority else f"{where}: a new certificate is signed"
