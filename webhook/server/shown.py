"""Which certificates a server shows to a client that asks for them."""

import socket
import ssl
from typing import Any

from webhook.pki.read import Certificate, certificates
from webhook.server.options import StartError, host_and_port

_SECONDS = 5.0


class NotShownError(Exception):
    """It can't be found out; the message says why."""


def shown_by(address: str) -> tuple[Certificate, ...]:
    """Return the chain that the server at `HOST:PORT` shows; nothing is sent to it, and nobody is trusted by it.

    Raises `NotShownError` where that can't be found out.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        host, port = host_and_port("--connect", address, "127.0.0.1:8443 or [::1]:8443")
        with (
            socket.create_connection((host, port), timeout=_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host) as tls,
        ):
            chain = certificates(_chain(tls).encode())
    except StartError as error:
        raise NotShownError(str(error)) from error
    except ssl.SSLError as error:
        reason = str(error.reason or error).replace("_", " ").lower()
        raise NotShownError(f"--connect {address}: no certificate can be had there by TLS: {reason}") from error
    except (OSError, ValueError) as error:  # ValueError: a host that no name server could be asked for
        raise NotShownError(f"--connect {address}: {getattr(error, 'strerror', None) or error}") from error
    if not chain:
        raise NotShownError(f"--connect {address}: the certificate there can't be read")
    return chain


def _chain(tls: ssl.SSLSocket) -> str:
    """Return what the server has sent, PEM."""
    public = getattr(tls, "get_unverified_chain", None)  # from Python 3.13 on
    if public:
        return "".join(ssl.DER_cert_to_PEM_cert(one) for one in public())
    own: Any = tls._sslobj  # type: ignore[attr-defined]  # noqa: SLF001 - where the same stands before that
    return "".join(one.public_bytes() for one in own.get_unverified_chain())
