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
        self.is_established = self._has_ended = False
        self.has_verified_client = False

    def receive(self, data: memoryview) -> None:
        """Add received bytes."""
        self._incoming.write(data)

    def continue_handshake(self) -> bool:
        """Return whether what was received completes the handshake. Raises `ssl.SSLError` if it fails."""
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
        return bool(self._incoming.pending or self._tls.pending() or self._has_ended or self._incoming.eof)

    def read(self) -> memoryview | None:
        """Return the next decrypted bytes, none at the client's end, or None if more has to be received first.

        They are those of as many records as fit into 16 KiB: what follows costs the same for each call, and a client
        may send a record for each byte. The view is valid until the next call for any connection. Raises
        `ssl.SSLError`.
        """
        if not self.is_established or not self.has_input:
            return None
        incoming, tls, size = self._incoming, self._tls, 0
        try:
            # without TLS's own end nothing is read at the client's end: OpenSSL would answer it with an alert
            while (incoming.pending or tls.pending()) and size < RECORD_BYTES and not self._has_ended:
                count: int = tls.read(RECORD_BYTES - size, _VIEW[size:])  # type: ignore[assignment]
                self._has_ended = not count
                size += count
        except ssl.SSLWantReadError:
            return _VIEW[:size] if size else None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # with TLS's own end, or without
            self._has_ended = True
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
