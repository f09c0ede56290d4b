"""Reads the entries of a log: one a line, or JSON values in any layout, behind the prefixes that commands add.

JSON lines are the fast path. A line that begins a JSON value without ending it, contains several, or is too long, is
read as a stream of values until one ends with a line. If that is not JSON, the first line is unreadable and the others
are read again as lines, so a torn line costs no other.
"""

import codecs
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import BinaryIO

from webhook.audit.json_stream import InvalidJsonError, JsonStream, Value
from webhook.audit.line_reader import MAX_LINE, OversizedLine, read_lines
from webhook.audit.log_entry import LogEntry
from webhook.audit.wrappers import DECODE_ERRORS, BrokenRecord, is_json, unwrap

_TOO_LONG = f"is longer than {MAX_LINE >> 20} MiB"
_SERVER_LINE = re.compile(rb"\[\d{4}-\d\d-\d\d [^\]]*\] \[\d+\] \[([A-Z]+)\] |tokenguard: ")
"""The server's own log on stderr, which `kubectl logs` mixes with stdout."""
_HAS_TRACEBACK = frozenset({b"ERROR", b"CRITICAL"})
_TRACEBACK = re.compile(rb"(?:\s|Traceback \(|During handling |The above exception |[\w.]+(?:: |$))")
_PREFIX = re.compile(
    rb"(\[pod/[^\]\s]+\] )?"
    rb"(?:\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|[+-]\d\d:?\d\d)?[ \t])?"
    rb"(?:std(?:out|err) [FP] )?"
    rb"(?:[A-Za-z0-9][\w.-]*[ \t]+(?=[{\[]))?"
)
"""Prefixes of a line: `kubectl logs` with `--prefix` and `--timestamps`, CloudWatch's export and
`aws logs tail` (time and stream), `oc adm node-logs` (the node's name), a container runtime's own log file."""
_JSON_STARTS = (b"{", b"[")
_SEVERAL = 2


Record = tuple[int, LogEntry | BrokenRecord]
"""An entry, and the number of the line that its value begins in."""


def read_records(file: BinaryIO, read: Callable[[int], None] = lambda _: None) -> Iterator[Record]:
    """Yield the entries, with an empty `LogEntry` for each line of neither log. `read` gets the bytes read.

    Raises the errors of `read_lines`.
    """
    reader = _Reader()
    for number, line in enumerate(chain(read_lines(file, read), (None,)), 1):
        yield from reader.take(number, line)


class _Reader:
    """Reads lines, and values that span several."""

    def __init__(self) -> None:
        self._server_log = _ServerLog()
        self._stream: JsonStream | None = None
        self._begun = self._values_read = 0
        self._why = ""
        self._passes_over = False
        """Whether to skip lines until a value begins: the rest of an unreadable one."""

    def take(self, number: int, line: bytes | OversizedLine | None) -> Iterator[Record]:
        """Read the next line, None after the last one; yield the entries that end with it."""
        waiting = deque([(number, line)])
        while waiting:
            at, taken = waiting.popleft()
            try:
                if taken is None:
                    yield from self._end_stream()
                elif self._stream:
                    yield from self._continue_stream(self._stream, taken)
                elif isinstance(taken, OversizedLine):
                    yield from self._long(at, taken)
                else:
                    yield from self._one(at, taken)
            except InvalidJsonError as error:
                record, again = self._recover(error)
                yield record
                waiting.extendleft(reversed(again))
                if taken is None:
                    waiting.append((at, None))

    def _one(self, number: int, whole: bytes) -> Iterator[Record]:
        pod, raw = _split_prefix(whole)
        begins_json = raw.lstrip().startswith(_JSON_STARTS)
        if self._passes_over and not begins_json:
            return
        try:
            entries = list(unwrap(raw))
            self._passes_over = False
            yield from ((number, entry) for entry in entries)
        except DECODE_ERRORS as error:
            if not raw.strip():
                return
            if self._server_log.is_log_line(pod, raw):
                yield number, LogEntry()
            elif begins_json and not isinstance(error, RecursionError) and not is_json(raw):
                yield from self._continue_stream(self._open(number, str(error)), raw)
            else:
                yield number, BrokenRecord.of(error)

    def _long(self, number: int, line: OversizedLine) -> Iterator[Record]:
        self._server_log = _ServerLog()
        _, raw = _split_prefix(next(line.pieces))
        if raw.lstrip().startswith(_JSON_STARTS):
            yield from self._continue_stream(self._open(number, _TOO_LONG), OversizedLine(chain([raw], line.pieces)))
        else:
            yield number, BrokenRecord(_TOO_LONG)

    def _open(self, number: int, why: str) -> JsonStream:
        self._stream = JsonStream(MAX_LINE)
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._begun, self._why, self._values_read = number, why, 0
        return self._stream

    def _continue_stream(self, stream: JsonStream, line: bytes | OversizedLine) -> Iterator[Record]:
        for piece in chain(line.pieces, [b"\n"]) if isinstance(line, OversizedLine) else (line + b"\n",):
            for value in stream.feed(self._decode(piece)):
                yield from self._entries(value)
        if stream.is_between_values:
            self._stream = None

    def _end_stream(self) -> Iterator[Record]:
        if self._stream:
            for value in self._stream.feed("", final=True):
                yield from self._entries(value)
            self._stream = None

    def _entries(self, value: Value) -> Iterator[Record]:
        self._values_read += 1
        self._passes_over = False
        number = self._begun + value.line
        try:
            yield from ((number, entry) for entry in unwrap(value.text.encode("utf-8", "surrogateescape")))
        except DECODE_ERRORS as error:
            yield number, BrokenRecord.of(error)

    def _recover(self, error: InvalidJsonError) -> tuple[Record, Sequence[tuple[int, bytes]]]:
        """End a stream of values; return the unreadable record and the numbered lines to read again."""
        self._stream = None
        number = self._begun + error.line
        again = [line.encode("utf-8", "surrogateescape") for line in error.rest.split("\n")[:-1]]
        is_torn_line = not self._values_read and len(again) < _SEVERAL
        self._passes_over = not is_torn_line
        broken = BrokenRecord(self._why if is_torn_line else str(error))
        return (number, broken), [(number + 1 + at, line) for at, line in enumerate(again)]


class _ServerLog:
    """Recognizes the server's own log, including tracebacks, among unreadable lines."""

    def __init__(self) -> None:
        self._in_traceback: set[bytes] = set()

    def is_log_line(self, pod: bytes, raw: bytes) -> bool:
        """Return whether a line that is not JSON is the server's. `pod` is empty if unknown."""
        match = _SERVER_LINE.match(raw)
        if match and match[1] in _HAS_TRACEBACK:
            self._in_traceback.add(pod)
        elif match or not (_TRACEBACK.match(raw) and b'":' not in raw):
            self._in_traceback.discard(pod)
        return bool(match) or pod in self._in_traceback


def _split_prefix(raw: bytes) -> tuple[bytes, bytes]:
    """Return the pod in a line's prefix, and the line without its prefix."""
    match = None if raw.startswith(_JSON_STARTS[:1]) else _PREFIX.match(raw)
    return (match[1] or b"", raw[match.end() :]) if match else (b"", raw)
