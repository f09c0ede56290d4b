"""Taking request bodies in, within bounds of time, of size, and of memory for all that arrive at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from webhook.core.text import Word
from webhook.server.late import Late

Receive = Callable[[], Awaitable[dict[str, Any]]]

SECONDS = 10.0
"""How long a body may take to arrive: the API server itself waits no longer for the answer by default."""
DISCARDED_BYTES = 64 << 20
"""How much of a body that isn't kept is taken in, so that its sender gets to read the answer."""
AT_ONCE = 8
"""How many bodies of the largest size may be held while they arrive."""
SMALL = 256 << 10
"""The first so many bytes of each body have room of their own, so that large ones that wait crowd out no small one."""


class Fate(Word):
    """What became of a body."""

    WHOLE = "whole"
    TOO_LARGE = "too large"
    CROWDED_OUT = "crowded out"
    LATE = "late"
    GONE = "gone, and its sender with it"


class Taken(NamedTuple):
    """A body, which is empty unless it is whole; `ended` says whether all of it has come, kept or not."""

    body: bytes
    fate: Fate
    ended: bool


class _Size(NamedTuple):
    """How many bytes of all bodies are held: the first `SMALL` ones of each, and the rest."""

    small: int
    large: int

    def changed(self, before: int, after: int) -> "_Size":
        """Return the sizes where one body has become longer or shorter, in bytes."""
        small = min(after, SMALL) - min(before, SMALL)
        return _Size(self.small + small, self.large + after - before - small)


class Bodies:
    """The bodies that one process takes in."""

    def __init__(self, largest: int) -> None:
        """Take the largest size of one body, in bytes."""
        self._largest = largest
        self._most_held = AT_ONCE * largest
        self._held = _Size(0, 0)
        self._late = Late(SECONDS)

    async def take(self, receive: Receive) -> Taken:
        """Take in a body. What comes in one piece, as most do, is never crowded out."""
        kept = bytearray()
        size, fate = 0, Fate.WHOLE
        task = self._late.begin()
        try:
            message = await receive()
            if message["type"] == "http.request" and not message["more_body"]:
                whole: bytes = message["body"]
                fits = len(whole) <= self._largest
                return Taken(whole, Fate.WHOLE, ended=True) if fits else Taken(b"", Fate.TOO_LARGE, ended=True)
            while message["type"] == "http.request":
                piece = message["body"]
                size += len(piece)
                if fate is Fate.WHOLE:
                    held = len(kept)
                    fate = self._room_for(held, size)
                    if fate is Fate.WHOLE and not _kept(kept, piece):
                        fate = Fate.CROWDED_OUT
                    if fate is not Fate.WHOLE:
                        kept.clear()
                    self._held = self._held.changed(held, len(kept))
                if not message["more_body"] or size > self._largest + DISCARDED_BYTES:
                    return Taken(bytes(kept), fate, ended=not message["more_body"])
                message = await receive()
            return Taken(b"", Fate.GONE, ended=False)
        except MemoryError:
            return Taken(b"", Fate.CROWDED_OUT, ended=False)
        except asyncio.CancelledError:
            if not self._late.caught(task):
                raise
            return Taken(b"", Fate.LATE if fate is Fate.WHOLE else fate, ended=False)
        finally:
            self._late.end(task)
            self._held = self._held.changed(len(kept), 0)

    def _room_for(self, held: int, size: int) -> Fate:
        """Return whether a body of which `held` bytes are held may become `size` bytes."""
        if size > self._largest:
            return Fate.TOO_LARGE
        needed = self._held.changed(held, size)
        full = any(before < after > self._most_held for before, after in zip(self._held, needed, strict=True))
        return Fate.CROWDED_OUT if full else Fate.WHOLE


def _kept(kept: bytearray, piece: bytes) -> bool:
    """Keep one more piece, and return whether there was memory for it."""
    try:
        kept += piece
    except MemoryError:
        return False
    return True


async def discard(receive: Receive) -> bool:
    """Take in a body that nobody wants, and return whether all of it has come."""
    return (await Bodies(0).take(receive)).ended
