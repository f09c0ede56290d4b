"""Splits a stream into JSON values, in any layout and in constant memory.

A value may span lines (pretty-printed), values may follow each other without a line end, and a list may be as long as
the log: each element of an array, and of the lists of an object that are in `LISTS`, is a value of its own.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

LISTS = frozenset({"items", "events", "records", "entries", "logEvents", "value"})
"""Keys of lists of records: Kubernetes, CloudWatch, Azure, Cloud Logging and OData."""
_NEAR_END = 16
"""An error this close to the end, in characters, may be an incomplete token."""
_SPACE = " \t\r\n"
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_decode = json.JSONDecoder().raw_decode


class Value(NamedTuple):
    """A value's text, and the line that it begins in; the stream begins in line 0."""

    line: int
    text: str


class InvalidJsonError(Exception):
    """Not JSON; `line` is the line that the value begins in, `rest` the text behind it, to read again."""

    def __init__(self, line: int, why: str, rest: str) -> None:
        super().__init__(why)
        self.line = line
        self.rest = rest


class _NeedsMoreError(Exception):
    pass


class JsonStream:
    """Splits text that comes in pieces. A value has at most `max_length` characters."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._pieces: list[str] = []
        self._added = 0
        self._text = ""
        self._line = self._at = self._counted = 0
        self._enclosing = ""
        """Where the next value is: `[` in an array, `{[` in an array of an object, `{` behind the array."""
        self._next_try = 0

    @property
    def is_between_values(self) -> bool:
        """Whether all text was complete values."""
        return not (self._enclosing or self._pieces or self._text)

    def feed(self, piece: str, *, final: bool = False) -> Iterator[Value]:
        """Add a piece of text, the last one if `final`; yield complete values. Raises `InvalidJsonError`."""
        self._pieces.append(piece)
        self._added += len(piece)
        if not final and len(self._text) + self._added < self._next_try:
            return
        self._text += "".join(self._pieces)
        self._pieces, self._added = [], 0
        while True:
            try:
                value = self._next(final=final)
            except _NeedsMoreError:
                self._drop_read()
                self._next_try = 2 * len(self._text)  # an incomplete value is read again at twice its length
                if final or len(self._text) > self._max_length:
                    why = "ends early" if final else f"is longer than {self._max_length >> 20} MiB"
                    raise self._error(why) from None
                return
            except ValueError as error:
                raise self._error(str(error)) from None
            except RecursionError:
                raise self._error("nested too deeply") from None
            if value is None:
                self._drop_read()
                self._text = ""
                self._next_try = 0
                return
            yield value

    def _error(self, why: str) -> InvalidJsonError:
        self._drop_read()
        begun = len(self._text) - len(self._text.lstrip(_SPACE))
        self._line_of(begun)
        _, _, rest = self._text[begun:].partition("\n")
        return InvalidJsonError(self._line, why, rest)

    def _drop_read(self) -> None:
        self._line_of(self._at)
        self._text = self._text[self._at :]
        self._at = self._counted = 0

    def _line_of(self, at: int) -> int:
        """Return the line of a position; positions only increase."""
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        return self._line

    def _next(self, *, final: bool) -> Value | None:
        """Return the next value, or None if there is none and none has begun."""
        while True:
            self._at = at = self._skip(self._at)
            sign = self._text[at : at + 1]
            if not sign:
                if self._enclosing:
                    raise _NeedsMoreError
                return None
            if self._enclosing == "{":
                if end := self._object(at, final=final, is_begun=True):
                    self._enclosing = ""
                    self._at = end
            elif self._enclosing and sign == "]":
                self._enclosing = self._enclosing[:-1]
                self._at = at + 1
            elif not self._enclosing and sign in "]}":  # what is left of a list with a damaged record
                self._at = at + 1
            elif not self._enclosing and sign == "[":
                self._enclosing = "["
                self._at = at + 1
            else:
                end = (
                    self._object(at, final=final)
                    if sign == "{" and not self._enclosing
                    else self._value(at, final=final)
                )
                if end:
                    self._at = end
                    return Value(self._line_of(at), self._text[at:end])

    def _object(self, at: int, *, final: bool, is_begun: bool = False) -> int:
        """Read an object member by member; return its end, or 0 if a list of records begins in it.

        Then `_at` is the list's first element. `is_begun`: continue behind such a list.
        """
        at = at if is_begun else at + 1
        while True:
            at = self._skip(at)
            if at == len(self._text):
                raise _NeedsMoreError
            if self._text[at] == "}":
                return at + 1
            if self._text[at] != '"':
                raise ValueError("Expecting property name enclosed in double quotes")
            end = self._value(at, final=final)
            key = json.loads(self._text[at:end])
            at = self._skip(end)
            if at == len(self._text):
                raise _NeedsMoreError
            if self._text[at] != ":":
                raise ValueError("Expecting ':' delimiter")
            at = self._skip(at + 1)
            if at == len(self._text):
                raise _NeedsMoreError
            if key in LISTS and self._text[at] == "[":
                self._enclosing = "{["
                self._at = at + 1
                return 0
            at = self._value(at, final=final)
            if is_begun:
                self._at = at

    def _value(self, at: int, *, final: bool) -> int:
        """Return the end of the value at a position."""
        try:
            _, end = _decode(self._text, at)
        except json.JSONDecodeError as error:
            is_near_end = error.pos >= len(self._text.rstrip(_SPACE)) - _NEAR_END
            if error.msg.startswith("Unterminated string") or is_near_end:
                raise _NeedsMoreError from None
            raise ValueError(error.msg) from None
        if end == len(self._text) and not final and self._text[end - 1] not in '"}]':  # a number may go on
            raise _NeedsMoreError
        return end

    def _skip(self, at: int) -> int:
        """Return the next position that is neither white space nor a comma."""
        match = _BETWEEN.match(self._text, at)
        return match.end() if match else at
