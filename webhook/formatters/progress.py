"""A progress line for long runs, on terminals only."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from webhook.core.safe_output import raw_stream, safe_text

_CLEAR = "\r\x1b[K"


class Progress:
    """A line on `stream`, if that is a terminal, that appears after `delay` seconds and is cleared at the end."""

    def __init__(self, stream: TextIO, delay: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = raw_stream(stream)
        self._clock = clock
        self._every = 0.1
        self._next = clock() + delay if stream.isatty() else None
        self._shown = False

    def step(self, step: str) -> None:
        """Show the current step, at most ten times a second."""
        if self._next is None or (now := self._clock()) < self._next:
            return
        self._next = now + self._every
        self._shown = True
        self._stream.write(f"{_CLEAR}{safe_text(step)} ...")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._stream.write(_CLEAR)
            self._stream.flush()
