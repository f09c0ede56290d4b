"""What is said where a connection can't be accepted: one line; asyncio has a traceback for each of 1,000 tries."""

import asyncio
import errno
import logging
from typing import Any

log = logging.getLogger("tokenguard")
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
SILENCE = 60.0
"""Seconds until it is said again."""


class Shortage:
    """A loop's exception handler. asyncio tries to accept again a second later, by itself."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._silent_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of a shortage at an accept; whatever else it is goes the usual way."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _SHORTAGES or "socket" not in context:
            loop.default_exception_handler(context)
        elif loop.time() >= self._silent_until:
            log.error("connections wait, none can be accepted: %s", error.strerror)
            self._silent_until = loop.time() + SILENCE
