"""The certificate that is served, with its key: new ones are taken up without a restart."""

import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization


def server_context() -> ssl.SSLContext:
    """Return a context for a server, still without a certificate: TLS 1.2 or newer, HTTP/1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class ServedPair:
    """The certificate and key that are served; new ones are used for new connections, without a restart."""

    def __init__(self, private_folder: Path, certificate_name: str = "certificate", key_name: str = "key") -> None:
        """Take a folder that nobody else can read (a pair can be loaded from a file alone), and the two's names."""
        self._folder = private_folder
        self._names = certificate_name, key_name
        self.context = server_context()

    def use(self, certificate: bytes, key: bytes) -> bytes | tuple[str, ...]:
        """Serve this pair (PEM) from now on and return it as one; or say why it doesn't load, and serve the one before.

        The pair is tried on a context of its own first: half a pair would break the one in use.
        """
        pair = certificate + b"\n" + key
        try:
            self.restore(pair)
        except (ssl.SSLError, ValueError, OSError) as error:
            return (self._why_not(certificate, key, error),)
        return pair

    def restore(self, pair: bytes) -> None:
        """Serve a pair that `use` has returned. Raises what `ssl` raises where it doesn't load."""
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            file.write(pair)
            file.flush()
            for context in (server_context(), self.context):
                context.load_cert_chain(file.name, password=_no_password)

    def _why_not(self, certificate: bytes, key: bytes, error: Exception) -> str:
        """Say which of the two is wrong; OpenSSL's own reasons name neither."""
        certificate_name, key_name = self._names
        try:
            public = x509.load_pem_x509_certificate(certificate).public_key()
        except (ValueError, UnsupportedAlgorithm):
            return f"{certificate_name}: no certificate in PEM can be read in it"
        try:
            private = serialization.load_pem_private_key(key, None)
        except TypeError:
            return f"{key_name}: the key is encrypted; give one without a password"
        except (ValueError, UnsupportedAlgorithm):
            return f"{key_name}: no private key in PEM can be read in it"
        if public != private.public_key():
            return f"{certificate_name} and {key_name} don't belong together"
        reason = str(getattr(error, "reason", None) or "OpenSSL doesn't say why").replace("_", " ").lower()
        return f"{certificate_name} and {key_name} can't be used: {reason}"


def _no_password() -> str:
    raise ValueError("the key is encrypted")
