"""The certificate that is served, with its key: new ones are taken up without a restart."""

import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from webhook.pki.read import Certificate, both_of, certificates, pair_mistake


def server_context() -> ssl.SSLContext:
    """Return a context for a server, still without a certificate: TLS 1.2 or newer, HTTP/1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class ServedPair:
    """The certificate and key that are served; new ones are used for new connections, without a restart."""

    def __init__(
        self, private_folder: Path, *names: str, serves: Callable[[Certificate], None] = lambda _certificate: None
    ) -> None:
        """Take a folder that nobody else can read (a pair can be loaded from a file alone), and what to call the two.

        Where one name is given, both come from there. `serves` is told of every certificate that is taken up.
        """
        self._folder = private_folder
        self._certificate_name, self._key_name = (names[0], names[-1]) if names else ("certificate", "key")
        self._serves = serves
        self.context = self._current = server_context()
        self.context.sni_callback = self._choose

    def use(self, *contents: bytes) -> bytes | tuple[str, ...]:
        """Serve what these hold (a certificate chain and its key, PEM) from now on, and return it as one.

        Where it doesn't load, say why, and go on with the one before. Raises `OSError` where there is no room to try.
        """
        pair = b"\n".join(contents)
        try:
            self.restore(pair)
        except (ssl.SSLError, ValueError) as error:
            return (self._why_not(contents[0], contents[-1], error),)
        return pair

    def restore(self, pair: bytes) -> None:
        """Serve a pair that `use` has returned. Raises what `ssl` raises where it doesn't load."""
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            file.write(pair)
            file.flush()
            fresh = server_context()
            fresh.load_cert_chain(file.name, password=_no_password)
        self._current = fresh
        for certificate in certificates(pair)[:1]:
            self._serves(certificate)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Give a new connection the pair of this moment; OpenSSL asks for clients that name no server, too.

        A pair is never loaded into a context that is in use: a handshake in between would find half of it.
        """
        connection.context = self._current

    def _why_not(self, certificate: bytes, key: bytes, error: Exception) -> str:
        """Say which of the two is wrong; OpenSSL's own reasons name neither."""
        one, other = self._certificate_name, self._key_name
        mistake = pair_mistake(certificate, key, one, other)
        if mistake:
            return mistake
        reason = str(getattr(error, "reason", None) or "OpenSSL doesn't say why").replace("_", " ").lower()
        return f"{both_of(one, other)} can't be used: {reason}"


def _no_password() -> str:
    raise ValueError("the key is encrypted")
