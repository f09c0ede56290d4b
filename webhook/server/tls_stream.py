"""The server's side of one TLS connection, over bytes that its caller receives and sends.

asyncio's own TLS holds 256 KiB for each connection and takes a third more CPU for each request.
"""

import contextlib
import ssl

RECORD_BYTES = 16 << 10
"""What a TLS record holds at most (RFC 8446, 5.1)."""
MAX_RECORD_BYTES = RECORD_BYTES + 256 + 5
"""A record as it is sent (RFC 8446, 5.2)."""
_CLEAR = bytearray(RECORD_BYTES)
_VIEW = memoryview(_CLEAR)


class TlsStream:
    """Decrypts what is received and encrypts what is to be sent. The handshake is part of what is received.

    `has_verified_client` says, after the handshake, whether the client has shown a certificate that was verified.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """`context` is a server's."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.is_established = False
        self.has_verified_client = False

    def receive(self, data: memoryview) -> bool:
        """Add received bytes; return whether they complete the handshake. Raises `ssl.SSLError` if it fails."""
        if data:  # after the client's end nothing can be written, not even nothing
            self._incoming.write(data)
        if self.is_established:
            return False
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.is_established = True
        self.has_verified_client = not self._tls.session_reused and bool(self._tls.getpeercert())
        return True

    def receive_end(self) -> None:
        """Mark the end of what the client sends."""
        self._incoming.write_eof()

    @property
    def has_input(self) -> bool:
        """Whether there is something to decrypt, or the client's end."""
        return bool(self._incoming.pending or self._tls.pending() or self._incoming.eof)

    def read(self) -> memoryview | None:
        """Return the next decrypted bytes, none at the client's end, or None if more has to be received first.

        The view is valid until the next call for any connection. Raises `ssl.SSLError`.
        """
        if not self.is_established or not self.has_input:
            return None
        if not (self._incoming.pending or self._tls.pending()):
            return _VIEW[:0]  # the client has ended without TLS's own end: OpenSSL would answer that with an alert
        try:
            size: int = self._tls.read(RECORD_BYTES, _CLEAR)  # type: ignore[assignment]  # bytes without a buffer
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # with TLS's own end, or without
            size = 0
        return _VIEW[:size]

    def write(self, data: bytes) -> bytes:
        """Return `data`, encrypted."""
        self._tls.write(data)
        return self._outgoing.read()

    def close(self) -> bytes:
        """Return the alert that ends what the server sends (RFC 8446, 6.1)."""
        with contextlib.suppress(ssl.SSLError, ValueError):  # the client's end hasn't come yet; there was no handshake
            self._tls.unwrap()
        return self.pending()

    def pending(self) -> bytes:
        """Return bytes of the protocol itself that are due: of a handshake, or an alert; may be empty."""
        return self._outgoing.read() if self._outgoing.pending else b""
