"""The certificate that is served, its key, and the CAs of known clients: new ones are taken up without a restart."""

import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from webhook.pki.read import Certificate, both_of, certificates, pair_mistake

CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20"
"""What may be spoken under TLS 1.2: keys of each connection's own, and AEAD. Under TLS 1.3 there is nothing else."""
_OPTIONS = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
"""Beside what Python sets by itself: no compression, and the server chooses the cipher.

No session is taken up again: the key to all tickets would live as long as the process, and whose CA is no longer among
the known ones could go on. The API server keeps its connections, and asks for none.
"""


def server_context(*, asks_clients: bool = False) -> ssl.SSLContext:
    """Return a context for a server, still without a certificate: TLS 1.2 or newer, HTTP/1.1.

    `asks_clients` has it ask for a certificate: who has none may connect all the same, who shows a bad one may not.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= _OPTIONS
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    if asks_clients:
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def shows_known_certificate(connection: ssl.SSLObject) -> bool:
    """Say whether a client has shown a certificate in this handshake, and it was verified."""
    return not connection.session_reused and bool(connection.getpeercert())


class ServedPair:
    """The certificate and key that are served; new ones are used for new connections, without a restart.

    With it go the CAs that clients' certificates may be from, if any are asked for.
    """

    def __init__(
        self,
        private_folder: Path,
        *names: str,
        serves: Callable[[Certificate], None] = lambda _certificate: None,
        client_ca: str | None = None,
    ) -> None:
        """Take a folder that nobody else can read (a pair can be loaded from a file alone), and what to call the two.

        Where one name is given, both come from there. `serves` is told of every certificate that is taken up.
        `client_ca` is what to call the clients' CAs, where their certificates are asked for.
        """
        self._folder = private_folder
        self._certificate_name, self._key_name = (names[0], names[-1]) if names else ("certificate", "key")
        self._serves = serves
        self._client_ca = client_ca
        self._pair = self._authorities = b""
        self.context = self._current = server_context(asks_clients=client_ca is not None)
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
        self._current = self._context(pair, self._authorities)
        self._pair = pair
        for certificate in certificates(pair)[:1]:
            self._serves(certificate)

    def trust(self, content: bytes) -> bytes | tuple[str, ...]:
        """Know clients by these CAs (PEM) from now on, and return them. Where there are none, say so, and go on.

        Raises `OSError` where there is no room to try.
        """
        found = certificates(content)
        if not found:
            return (f"{self._client_ca}: no certificate in PEM can be read in it",)
        authorities = b"".join(one.pem for one in found)
        self.restore_trust(authorities)
        return authorities

    def restore_trust(self, authorities: bytes) -> None:
        """Know clients by CAs that `trust` has returned."""
        if self._pair:
            self._current = self._context(self._pair, authorities)
        self._authorities = authorities

    def _context(self, pair: bytes, authorities: bytes) -> ssl.SSLContext:
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            file.write(pair)
            file.flush()
            fresh = server_context(asks_clients=self._client_ca is not None)
            fresh.load_cert_chain(file.name, password=_no_password)
        if authorities:
            fresh.load_verify_locations(cadata=authorities.decode())
        return fresh

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Give a new connection the pair and the CAs of this moment; OpenSSL asks for clients that name no server, too.

        A pair is never loaded into a context that is in use: a handshake in between would find half of it. Whether a
        certificate is asked for at all is taken from the first context, and the CAs from the one that is chosen.
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
