"""The records of a log: a line each, or values in JSON of any layout, whatever a command has put before a line.

JSON lines are the fast path. A line that begins a JSON value and does not end it, holds several, or is longer than a
line may be, is read as a stream of values until one ends with a line. Where that turns out to be no JSON, the first
line is broken and those behind it are read again as lines: a torn line costs no other.
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
"""What the server says on stderr, which `kubectl logs` gives mixed with its stdout."""
_HAS_TRACEBACK = frozenset({b"ERROR", b"CRITICAL"})
_TRACEBACK = re.compile(rb"(?:\s|Traceback \(|During handling |The above exception |[\w.]+(?:: |$))")
_PREFIX = re.compile(
    rb"(\[pod/[^\]\s]+\] )?"
    rb"(?:\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|[+-]\d\d:?\d\d)?[ \t])?"
    rb"(?:std(?:out|err) [FP] )?"
    rb"(?:[A-Za-z0-9][\w.-]*[ \t]+(?=[{\[]))?"
)
"""What stands before a record: `kubectl logs` with `--prefix` and `--timestamps`, CloudWatch's export and
`aws logs tail` (time and stream), `oc adm node-logs` (the node's name), a container runtime's own log file."""
_JSON_STARTS = (b"{", b"[")
_SEVERAL = 2


class ParsedRecord(NamedTuple):
    """A record by the number of the line that it begins in; `found` are several where others are wrapped in it."""

    number: int
    found: Sequence[LogEntry | BrokenRecord]


def read_records(file: BinaryIO, read: Callable[[int], None] = lambda _: None) -> Iterator[ParsedRecord]:
    """Yield the records; a `LogEntry` of neither log for what is no record of one. `read` gets the bytes taken.

    Raises what `read_lines` does.
    """
    reader = _Reader()
    for number, line in enumerate(read_lines(file, read), 1):
        yield from reader.take(number, line)
    yield from reader.end()


class _Reader:
    """Reads lines, and values that extend over several."""

    def __init__(self) -> None:
        self._own = _ServerLog()
        self._stream: JsonStream | None = None
        self._begun = self._values_read = 0
        self._why = ""
        self._passes_over = False
        """Whether lines are what is left of a value over several that could not be read, until another one begins."""

    def take(self, number: int, line: bytes | OversizedLine) -> Iterator[ParsedRecord]:
        """Take the next line, and yield what has ended with it."""
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
        """Yield what is left at the end of the log."""
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
            if raw.strip() and self._own.says(pod, raw):
                yield ParsedRecord(number, [LogEntry()])
            elif isinstance(error, RecursionError):
                yield ParsedRecord(number, [BrokenRecord("nests too deep")])
            elif raw.lstrip().startswith(_JSON_STARTS) and not is_json(raw):
                yield from self._continue_stream(self._open(number, str(error)), raw)
            elif raw.strip():
                yield ParsedRecord(number, [BrokenRecord(str(error))])

    def _long(self, number: int, line: OversizedLine) -> Iterator[ParsedRecord]:
        self._own = _ServerLog()
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
                found = [BrokenRecord("nests too deep")]
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                found = [BrokenRecord(str(error))]
            yield ParsedRecord(number, found)

    def _recover(self, error: InvalidJsonError) -> tuple[ParsedRecord, Sequence[tuple[int, bytes]]]:
        """End a stream of values; return what is broken, and the lines to be read again, numbered."""
        self._stream = None
        number = self._begun + error.line
        again = [line.encode("utf-8", "surrogateescape") for line in error.rest.split("\n")[:-1]]
        is_torn_line = not self._values_read and len(again) < _SEVERAL
        self._passes_over = not is_torn_line
        record = ParsedRecord(number, [BrokenRecord(self._why if is_torn_line else str(error))])
        return record, [(number + 1 + at, line) for at, line in enumerate(again)]


class _ServerLog:
    """Tells what the server says, and the tracebacks of its errors, from what is torn or was never a line of a log."""

    def __init__(self) -> None:
        self._in_traceback: set[bytes] = set()

    def says(self, pod: bytes, raw: bytes) -> bool:
        """Say whether a line of this pod (empty: nobody knows whose) that is no JSON is the server's own."""
        said = _SERVER_LINE.match(raw)
        if said and said[1] in _HAS_TRACEBACK:
            self._in_traceback.add(pod)
        elif said or not (_TRACEBACK.match(raw) and b'":' not in raw):
            self._in_traceback.discard(pod)
        return bool(said) or pod in self._in_traceback


def _split_prefix(raw: bytes) -> tuple[bytes, bytes]:
    """Return the pod that kubectl names before a record, and the record without what stands before it."""
    found = None if raw.startswith(_JSON_STARTS[:1]) else _PREFIX.match(raw)
    return (found[1] or b"", raw[found.end() :]) if found else (b"", raw)
