"""Several logs as one: their lines, decoded, in the order of their times, whatever is broken named and passed over."""

import datetime as dt
import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

import msgspec

from webhook.audit.line import Line, decode
from webhook.audit.lines import LONGEST, DamagedError, lines

MOST_NAMED = 5
_TOO_LONG = f"is longer than {LONGEST >> 20} MiB"
_SERVERS_OWN = re.compile(rb"\[\d{4}-\d\d-\d\d [^\]]*\] \[\d+\] \[([A-Z]+)\] |tokenguard: ")
"""What the server says on stderr, which `kubectl logs` gives mixed with its stdout."""
_HAS_TRACEBACK = frozenset({b"ERROR", b"CRITICAL"})
_TRACEBACK = re.compile(rb"(?:\s|Traceback \(|During handling |The above exception |[\w.]+(?:: |$))")
_KUBECTLS = re.compile(rb"(\[pod/[^\]\s]+\] )?(?:\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) )?")
"""What `kubectl logs` puts before a line with `--prefix` and `--timestamps`."""
_ALWAYS = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True)
class Log:
    """A log by its name; `open` gives it from its start, which `again` says can be done more than once."""

    name: str
    open: Callable[[], BinaryIO]
    again: bool = True


@dataclass
class Notes:
    """What came of reading: lines of which log, and what couldn't be read, named as `file:line` and `file`."""

    own: int = 0
    events: int = 0
    other: int = 0
    broken: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """All lines but empty ones."""
        return self.own + self.events + self.other + self.broken

    def break_off(self, log: Log, error: OSError | DamagedError) -> None:
        """Note that a log, or the rest of it, can't be read."""
        why = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
        self.unread.append((log.name, why))

    def miss(self, log: Log, number: int, why: str) -> None:
        """Note a line that can't be read."""
        self.broken += 1
        if len(self.named) < MOST_NAMED:
            self.named.append((f"{log.name}:{number}", why))


def merged(logs: Sequence[Log], notes: Notes, read: Callable[[int], None] = lambda _: None) -> Iterator[Line]:
    """Yield the lines of all logs by their times, as far as each log is in order by itself.

    A log is opened when its first line's time has come: a thousand rotated files are open one after the other.
    """
    heap = [(_begin(log) if log.again and len(logs) > 1 else _ALWAYS, at) for at, log in enumerate(logs)]
    heapq.heapify(heap)
    opened: dict[int, tuple[Iterator[Line], Line | None]] = {}
    while heap:
        at = heap[0][1]
        rest, line = opened.pop(at) if at in opened else (_read(logs[at], notes, read), None)
        if line is not None:
            yield line
        if len(heap) == 1:
            yield from rest
            return
        following = next(rest, None)
        if following is None:
            heapq.heappop(heap)
        else:
            opened[at] = (rest, following)
            heapq.heapreplace(heap, (_time(following), at))


def _read(log: Log, notes: Notes, read: Callable[[int], None]) -> Iterator[Line]:
    """Yield the lines that tell something, of either log; note all others."""
    own = _ServersOwn()
    try:
        with log.open() as file:
            for number, whole in enumerate(lines(file, read), 1):
                if whole is None:
                    notes.miss(log, number, _TOO_LONG)
                    own = _ServersOwn()
                    continue
                pod, raw = _parted(whole)
                try:
                    line = decode(raw)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    if raw.strip() and own.says(pod, raw):
                        notes.other += 1
                    elif raw.strip():
                        notes.miss(log, number, "nests too deep" if isinstance(error, RecursionError) else str(error))
                    continue
                if line.own:
                    notes.own += 1
                elif line.event:
                    notes.events += 1
                else:
                    notes.other += 1
                    continue
                yield line
    except (OSError, DamagedError) as error:
        notes.break_off(log, error)


class _ServersOwn:
    """Tells what the server says, and the tracebacks of its errors, from what is torn or was never a line of a log."""

    def __init__(self) -> None:
        self._in_traceback: set[bytes] = set()

    def says(self, pod: bytes, raw: bytes) -> bool:
        """Say whether a line of this pod (empty: nobody knows whose) that is no JSON is the server's own."""
        said = _SERVERS_OWN.match(raw)
        if said and said[1] in _HAS_TRACEBACK:
            self._in_traceback.add(pod)
        elif said or not (_TRACEBACK.match(raw) and b'":' not in raw):
            self._in_traceback.discard(pod)
        return bool(said) or pod in self._in_traceback


def _parted(raw: bytes) -> tuple[bytes, bytes]:
    """Return the pod that kubectl names before a line, and the line without what kubectl has put there."""
    found = None if raw.startswith(b"{") else _KUBECTLS.match(raw)
    return (found[1] or b"", raw[found.end() :]) if found else (b"", raw)


def _begin(log: Log) -> dt.datetime:
    """Return the time of a log's first line; the earliest there is where it has none, or can't be read."""
    with suppress(OSError, DamagedError), log.open() as file:
        for raw in lines(file):
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                line = decode(_parted(raw or b"")[1])
                if line.own or line.event:
                    return _time(line)
    return _ALWAYS


def _time(line: Line) -> dt.datetime:
    return line.time or line.stage_timestamp or _ALWAYS
