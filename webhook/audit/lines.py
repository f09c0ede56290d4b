"""The lines of a log, plain or gzip by what it holds, in memory that doesn't grow with the log or with a line."""

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

CHUNK = 1 << 18
LONGEST = 16 << 20
"""The longest line that is read, in bytes. The API server's longest events hold an object twice, at 3 MiB each."""
_GZIP = b"\x1f\x8b"
_GZIP_OR_ZEROS = 31
"""zlib's name for a gzip member, header and checksum included."""


class DamagedError(Exception):
    """The rest of a log can't be read; the message says why."""


def lines(file: BinaryIO, read: Callable[[int], None] = lambda _: None) -> Iterator[bytes | None]:
    """Yield the lines, without their ends; None for one that is too long. `read` is told of bytes taken from `file`.

    Raises `DamagedError` where gzip data is damaged or ends early, `OSError` where the file can't be read; what came
    before has been yielded.
    """
    rest = b""
    skipping = False
    for chunk in _chunks(file, read):
        *whole, rest = (rest + chunk).split(b"\n")
        if skipping and whole:
            skipping = False
            del whole[0]
        yield from whole
        if skipping or len(rest) > LONGEST:
            if not skipping:
                yield None
            skipping = True
            rest = b""
    if rest and not skipping:
        yield rest


def _chunks(file: BinaryIO, read: Callable[[int], None]) -> Iterator[bytes]:
    head = file.read(len(_GZIP))
    raw = _raw(head, file, read)
    return _inflated(raw) if head == _GZIP else raw


def _raw(head: bytes, file: BinaryIO, read: Callable[[int], None]) -> Iterator[bytes]:
    while head:
        read(len(head))
        yield head
        head = file.read(CHUNK)


def _inflated(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what gzip data holds: one member after the other, with zeros behind them, as gzip itself takes it."""
    member = zlib.decompressobj(_GZIP_OR_ZEROS)
    begun = False
    for piece in raw:
        left = piece
        while left:
            if not begun and not (left := left.lstrip(b"\0")):
                break
            begun = True
            try:
                yield member.decompress(left, CHUNK)
            except zlib.error as error:
                raise DamagedError(f"its gzip data is damaged: {error}") from None
            left = member.unconsumed_tail
            if member.eof:
                left = member.unused_data
                member = zlib.decompressobj(_GZIP_OR_ZEROS)
                begun = False
    if begun:
        raise DamagedError("its gzip data ends early")
