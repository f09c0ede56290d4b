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
from typing import BinaryIO, NamedTuple

import msgspec

from webhook.audit.json_stream import InvalidJsonError, JsonStream, Value
from webhook.audit.line_reader import MAX_LINE, OversizedLine, read_lines
from webhook.audit.log_entry import LogEntry
from webhook.audit.wrappers import BrokenRecord, is_json, unwrap

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


class ParsedRecord(NamedTuple):
    """The entries in a value, and the number of the line that it begins in."""

    number: int
    found: Sequence[LogEntry | BrokenRecord]


def read_records(file: BinaryIO, read: Callable[[int], None] = lambda _: None) -> Iterator[ParsedRecord]:
    """Yield the entries, with an empty `LogEntry` for each line of neither log. `read` gets the bytes read.

    Raises the errors of `read_lines`.
    """
    reader = _Reader()
    for number, line in enumerate(read_lines(file, read), 1):
        yield from reader.take(number, line)
    yield from reader.end()


class _Reader:
    """Reads lines, and values that span several."""

    def __init__(self) -> None:
        self._server_log = _ServerLog()
        self._stream: JsonStream | None = None
        self._begun = self._values_read = 0
        self._why = ""
        self._passes_over = False
        """Whether to skip lines until a value begins: the rest of an unreadable one."""

    def take(self, number: int, line: bytes | OversizedLine) -> Iterator[ParsedRecord]:
        """Read the next line; yield the entries that end with it."""
        waiting: deque[tuple[int, bytes | OversizedLine]] = deque([(number, line)])
        while waiting:
            at, taken = waiting.popleft()
            try:
                if self._stream:
                    yield from self._continue_stream(self._stream, taken)
                elif isinstance(taken, OversizedLine):
                    yield from self._long(at, taken)
                else:
                    yield from self._one(at, taken)
            except InvalidJsonError as error:
                record, again = self._recover(error)
                yield record
                waiting.extendleft(reversed(again))

    def end(self) -> Iterator[ParsedRecord]:
        """Yield the last entries."""
        while self._stream:
            try:
                yield from self._values(self._stream.feed("", final=True))
                self._stream = None
            except InvalidJsonError as error:
                record, again = self._recover(error)
                yield record
                for at, line in again:
                    yield from self.take(at, line)

    def _one(self, number: int, whole: bytes) -> Iterator[ParsedRecord]:
        pod, raw = _split_prefix(whole)
        if self._passes_over and not raw.lstrip().startswith(_JSON_STARTS):
            return
        try:
            found = list(unwrap(raw))
            self._passes_over = False
            yield ParsedRecord(number, found)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if raw.strip() and self._server_log.is_log_line(pod, raw):
                yield ParsedRecord(number, [LogEntry()])
            elif isinstance(error, RecursionError):
                yield ParsedRecord(number, [BrokenRecord("nested too deeply")])
            elif raw.lstrip().startswith(_JSON_STARTS) and not is_json(raw):
                yield from self._continue_stream(self._open(number, str(error)), raw)
            elif raw.strip():
                yield ParsedRecord(number, [BrokenRecord(str(error))])

    def _long(self, number: int, line: OversizedLine) -> Iterator[ParsedRecord]:
        self._server_log = _ServerLog()
        _, raw = _split_prefix(next(line.pieces))
        if raw.lstrip().startswith(_JSON_STARTS):
            yield from self._continue_stream(self._open(number, _TOO_LONG), OversizedLine(chain([raw], line.pieces)))
        else:
            yield ParsedRecord(number, [BrokenRecord(_TOO_LONG)])

    def _open(self, number: int, why: str) -> JsonStream:
        self._stream = JsonStream(MAX_LINE)
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._begun, self._why, self._values_read = number, why, 0
        return self._stream

    def _continue_stream(self, stream: JsonStream, line: bytes | OversizedLine) -> Iterator[ParsedRecord]:
        for piece in chain(line.pieces, [b"\n"]) if isinstance(line, OversizedLine) else (line + b"\n",):
            yield from self._values(stream.feed(self._decode(piece)))
        if stream.is_between_values:
            self._stream = None

    def _values(self, values: Iterator[Value]) -> Iterator[ParsedRecord]:
        for value in values:
            self._values_read += 1
            self._passes_over = False
            number = self._begun + value.line
            try:
                found = list(unwrap(value.text.encode("utf-8", "surrogateescape")))
            except RecursionError:
                found = [BrokenRecord("nested too deeply")]
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                found = [BrokenRecord(str(error))]
            yield ParsedRecord(number, found)

    def _recover(self, error: InvalidJsonError) -> tuple[ParsedRecord, Sequence[tuple[int, bytes]]]:
        """End a stream of values; return the unreadable record and the numbered lines to read again."""
        self._stream = None
        number = self._begun + error.line
        again = [line.encode("utf-8", "surrogateescape") for line in error.rest.split("\n")[:-1]]
        is_torn_line = not self._values_read and len(again) < _SEVERAL
        self._passes_over = not is_torn_line
        record = ParsedRecord(number, [BrokenRecord(self._why if is_torn_line else str(error))])
        return record, [(number + 1 + at, line) for at, line in enumerate(again)]


class _ServerLog:
    """Recognizes the server's own log, including tracebacks, among unreadable lines."""

    def __init__(self) -> None:
        self._in_traceback: set[bytes] = set()

    def is_log_line(self, pod: bytes, raw: bytes) -> bool:
        """Return whether a line that is not JSON is the server's. `pod` is empty if unknown."""
        said = _SERVER_LINE.match(raw)
        if said and said[1] in _HAS_TRACEBACK:
            self._in_traceback.add(pod)
        elif said or not (_TRACEBACK.match(raw) and b'":' not in raw):
            self._in_traceback.discard(pod)
        return bool(said) or pod in self._in_traceback


def _split_prefix(raw: bytes) -> tuple[bytes, bytes]:
    """Return the pod in a line's prefix, and the line without its prefix."""
    found = None if raw.startswith(_JSON_STARTS[:1]) else _PREFIX.match(raw)
    return (found[1] or b"", raw[found.end() :]) if found else (b"", raw)
