"""Several logs as one: their lines, decoded, in the order of their times, whatever is broken named and passed over."""

import datetime as dt
import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from webhook.audit.line_reader import CorruptLogError
from webhook.audit.log_entry import LogEntry
from webhook.audit.record_reader import read_records
from webhook.audit.wrappers import BrokenRecord

MAX_REPORTED = 5
_ALWAYS = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True)
class LogSource:
    """A log by its name; `open` gives it from its start, which `again` says can be done more than once."""

    name: str
    open: Callable[[], BinaryIO]
    again: bool = True


@dataclass
class ReadStats:
    """What came of reading: lines of which log, and what couldn't be read, named as `file:line` and `file`."""

    tokenguard: int = 0
    apiserver: int = 0
    other: int = 0
    broken: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """All lines but empty ones."""
        return self.tokenguard + self.apiserver + self.other + self.broken

    def add_unreadable(self, log: LogSource, error: OSError | CorruptLogError) -> None:
        """Note that a log, or the rest of it, can't be read."""
        why = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
        self.unread.append((log.name, why))

    def add_broken(self, log: LogSource, number: int, why: str) -> None:
        """Note a line that can't be read."""
        self.broken += 1
        if len(self.named) < MAX_REPORTED:
            self.named.append((f"{log.name}:{number}", why))


def merge_logs(
    logs: Sequence[LogSource], stats: ReadStats, read: Callable[[int], None] = lambda _: None
) -> Iterator[LogEntry]:
    """Yield the lines of all logs by their times, as far as each log is in order by itself.

    A log is opened when its first line's time has come: a thousand rotated files are open one after the other.
    """
    heap = [(_begin(log) if log.again and len(logs) > 1 else _ALWAYS, at) for at, log in enumerate(logs)]
    heapq.heapify(heap)
    opened: dict[int, tuple[Iterator[LogEntry], LogEntry | None]] = {}
    while heap:
        at = heap[0][1]
        rest, line = opened.pop(at) if at in opened else (_read(logs[at], stats, read), None)
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


def _read(log: LogSource, stats: ReadStats, read: Callable[[int], None]) -> Iterator[LogEntry]:
    """Yield the records that tell something, of either log; note all others."""
    try:
        with log.open() as file:
            for number, found in read_records(file, read):
                for line in found:
                    if isinstance(line, BrokenRecord):
                        stats.add_broken(log, number, line.why)
                    elif line.is_tokenguard:
                        stats.tokenguard += 1
                        yield line
                    elif line.is_event:
                        stats.apiserver += 1
                        yield line
                    else:
                        stats.other += 1
    except (OSError, CorruptLogError) as error:
        stats.add_unreadable(log, error)


def _begin(log: LogSource) -> dt.datetime:
    """Return the time of a log's first record; the earliest there is where it has none, or can't be read."""
    with suppress(OSError, CorruptLogError), log.open() as file:
        for _, found in read_records(file):
            for line in found:
                if isinstance(line, LogEntry) and (line.is_tokenguard or line.is_event):
                    return _time(line)
    return _ALWAYS


def _time(line: LogEntry) -> dt.datetime:
    return line.time or line.stage_timestamp or _ALWAYS
