"""Reads the lines of a log, plain or gzip by its content, in constant memory."""

import codecs
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import BinaryIO

CHUNK_SIZE = 1 << 18
MAX_LINE = 16 << 20
"""The longest line, in bytes. The API server's longest Events contain an object twice, at 3 MiB each."""
_GZIP = b"\x1f\x8b"
_MAX_MAGIC = len(codecs.BOM_UTF8)
_GZIP_WINDOW_BITS = 31
"""Has zlib read gzip headers and checksums."""


class CorruptLogError(Exception):
    """The rest of a log cannot be read; the message says why."""


class OversizedLine:
    """A line longer than `MAX_LINE`, in pieces; pieces that are not read before the next line are skipped."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces


def read_lines(file: BinaryIO, read: Callable[[int], None] = lambda _: None) -> Iterator[bytes | OversizedLine]:
    """Yield the lines without line ends. `read` is called with the number of bytes read from `file`.

    Raises `CorruptLogError` if gzip data is damaged or truncated, or `OSError`, after the lines before.
    """
    chunks = _chunks(file, read)
    rest = b""

    def pieces() -> Iterator[bytes]:
        nonlocal rest
        piece, rest = rest, b""
        yield piece
        for chunk in chunks:
            piece, end, rest = chunk.partition(b"\n")
            yield piece
            if end:
                return

    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        while len(rest) > MAX_LINE and b"\n" not in rest:
            line = OversizedLine(pieces())
            yield line
            for _ in line.pieces:
                pass
        *whole, rest = rest.split(b"\n")
        yield from whole
    if rest:
        yield rest


def _chunks(file: BinaryIO, read: Callable[[int], None]) -> Iterator[bytes]:
    head, raw = _peek(_read_chunks(file, read))
    if head.startswith(_GZIP):
        head, raw = _peek(_decompress(raw))
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decode_utf16(raw)
    return chain([next(raw).removeprefix(codecs.BOM_UTF8)], raw)


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, enough to detect the encoding, and all chunks."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _MAX_MAGIC:
            break
    return head, chain([head], chunks)


def _read_chunks(file: BinaryIO, read: Callable[[int], None]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_SIZE):
        read(len(chunk))
        yield chunk


def _decode_utf16(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Convert UTF-16, which PowerShell writes into files, to UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-16")("replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()


def _decompress(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress gzip members one after the other, ignoring zeros between them as gzip does."""
    member = zlib.decompressobj(_GZIP_WINDOW_BITS)
    begun = False
    for piece in raw:
        left = piece
        while left:
            if not begun and not (left := left.lstrip(b"\0")):
                break
            begun = True
            try:
                yield member.decompress(left, CHUNK_SIZE)
            except zlib.error as error:
                raise CorruptLogError(f"damaged gzip data: {error}") from None
            left = member.unconsumed_tail
            if member.eof:
                left = member.unused_data
                member = zlib.decompressobj(_GZIP_WINDOW_BITS)
                begun = False
    if begun:
        raise CorruptLogError("truncated gzip data")
