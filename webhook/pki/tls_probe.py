"""Reads the certificates that a TLS server presents."""

import socket
import ssl
from typing import Any

from webhook.pki.certificate import Certificate, parse_certificates
from webhook.pki.san import parse_address

_TIMEOUT = 5.0


class ProbeError(Exception):
    """The server presents no certificate; the message says why."""


def fetch_chain(address: str) -> tuple[Certificate, ...]:
    """Return the unverified chain of the server at `HOST:PORT`. No request is sent. Raises `ProbeError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        host, port = parse_address(address)
        with (
            socket.create_connection((host, port), timeout=_TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=host) as tls,
        ):
            chain = parse_certificates(_chain(tls).encode())
    except ssl.SSLError as error:
        reason = str(error.reason or error).replace("_", " ").lower()
        raise ProbeError(f"TLS handshake failed: {reason}") from error
    except (OSError, ValueError) as error:  # ValueError: also a host name that cannot be looked up
        raise ProbeError(getattr(error, "strerror", None) or str(error)) from error
    if not chain:
        raise ProbeError("cannot parse the certificate")
    return chain


def _chain(tls: ssl.SSLSocket) -> str:
    """Return the chain as PEM."""
    if hasattr(tls, "get_unverified_chain"):  # from Python 3.13 on
        return "".join(map(ssl.DER_cert_to_PEM_cert, tls.get_unverified_chain()))
    internal: Any = tls._sslobj  # type: ignore[attr-defined]  # noqa: SLF001 - where it is before 3.13
    return "".join(certificate.public_bytes() for certificate in internal.get_unverified_chain())
