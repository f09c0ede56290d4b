"""The beginning of a TLS handshake, written by hand: what no TLS library here would still say can be said."""

import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

SSL_3, TLS_1_0, TLS_1_1, TLS_1_2 = 0x0300, 0x0301, 0x0302, 0x0303
ALERT, HANDSHAKE = 21, 22
_SIGNATURES = (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0203, 0x0201)
_GROUPS = (29, 23, 24, 25, 256)


class ServerHello(NamedTuple):
    """What a server has chosen."""

    version: int
    suite: int
    compression: int
    extensions: bytes


def say_hello(address: str, version: int, suites: Sequence[int], compressions: bytes = b"\0") -> ServerHello | None:
    """Offer a server a version, and under it these cipher suites and methods of compression; return what it chooses.

    None: nothing of it, it sends an alert, or hangs up as asyncio's servers do.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(_hello(version, suites, compressions))
        try:
            kind, _, length = struct.unpack("!BHH", _exactly(connection, 5))
        except ConnectionError:
            return None
        body = _exactly(connection, length)
    if kind == ALERT:
        return None
    assert (kind, body[0]) == (HANDSHAKE, 2)
    chosen, sessions = struct.unpack_from("!H32xB", body, 4)
    suite, compression = struct.unpack_from("!HB", body, 39 + sessions)
    return ServerHello(chosen, suite, compression, body[42 + sessions : 4 + int.from_bytes(body[1:4])])


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionError("it was closed")
        received += piece
    return received


def _hello(version: int, suites: Sequence[int], compressions: bytes) -> bytes:
    extensions = b"".join(
        struct.pack("!HH", number, len(content)) + content
        for number, content in (
            (10, _vector(_GROUPS)), (11, b"\1\0"), (13, _vector(_SIGNATURES)), (35, b""), (0xFF01, b"\0"),
        )
    )  # fmt: skip
    body = struct.pack("!H", version) + os.urandom(32) + b"\0" + _vector(suites)
    body += bytes([len(compressions)]) + compressions + struct.pack("!H", len(extensions)) + extensions
    message = b"\1" + len(body).to_bytes(3) + body
    # Some 30,000 suites are longer than one record may be.
    pieces = [message[at : at + 16384] for at in range(0, len(message), 16384)]
    return b"".join(struct.pack("!BHH", HANDSHAKE, min(version, TLS_1_0), len(piece)) + piece for piece in pieces)


def _vector(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"!H{len(numbers)}H", 2 * len(numbers), *numbers)
