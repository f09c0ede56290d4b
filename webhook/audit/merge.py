"""Merges logs by time. Unreadable lines are counted and skipped."""

import datetime as dt
import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from webhook.audit.line_reader import CorruptLogError
from webhook.audit.log_entry import EARLIEST, LogEntry
from webhook.audit.record_reader import read_records
from webhook.audit.wrappers import BrokenRecord
from webhook.core.formatting import failure_text

MAX_REPORTED = 5


@dataclass(frozen=True)
class LogSource:
    """A log; `open` opens it from its start, more than once only if it is `reopenable`."""

    name: str
    open: Callable[[], BinaryIO]
    reopenable: bool = True


@dataclass
class ReadStats:
    """Numbers of lines by kind; the first unreadable ones as (`file:line`, reason), logs as (name, reason)."""

    logs: int = 0
    tokenguard: int = 0
    apiserver: int = 0
    other: int = 0
    unreadable: int = 0
    unreadable_lines: list[tuple[str, str]] = field(default_factory=list)
    unreadable_logs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """The number of lines, without empty ones."""
        return self.tokenguard + self.apiserver + self.other + self.unreadable

    def add_unreadable_log(self, log: LogSource, error: OSError | CorruptLogError) -> None:
        """Record that a log, or the rest of it, cannot be read."""
        reason = failure_text(error) if isinstance(error, OSError) else str(error)
        self.unreadable_logs.append((log.name, reason))

    def add_unreadable_line(self, log: LogSource, number: int, reason: str) -> None:
        """Count a line that cannot be read."""
        self.unreadable += 1
        if len(self.unreadable_lines) < MAX_REPORTED:
            self.unreadable_lines.append((f"{log.name}:{number}", reason))


def merge_logs(
    logs: Sequence[LogSource], stats: ReadStats, read: Callable[[int], None] = lambda _: None
) -> Iterator[LogEntry]:
    """Yield the entries of all logs by time, provided that each log is in order. `read` gets the bytes read.

    A log is opened when the time of its first entry has come: a thousand rotated files are open one after the other.
    """
    stats.logs = len(logs)
    times = [_first_time(log) if log.reopenable and len(logs) > 1 else EARLIEST for log in logs]
    heap = [(time, index) for index, time in enumerate(times)]
    heapq.heapify(heap)
    opened: dict[int, tuple[Iterator[LogEntry], LogEntry | None]] = {}
    while heap:
        index = heap[0][1]
        rest, entry = opened.pop(index) if index in opened else (_read(logs[index], stats, read), None)
        if entry is not None:
            yield entry
        if len(heap) == 1:
            yield from rest
            return
        following = next(rest, None)
        if following is None:
            heapq.heappop(heap)
        else:
            opened[index] = (rest, following)
            heapq.heapreplace(heap, (following.occurred, index))


def _read(log: LogSource, stats: ReadStats, read: Callable[[int], None]) -> Iterator[LogEntry]:
    """Yield the entries of either log; count all others."""
    try:
        with log.open() as file:
            for number, entry in read_records(file, read):
                if isinstance(entry, BrokenRecord):
                    stats.add_unreadable_line(log, number, entry.reason)
                elif entry.is_tokenguard:
                    stats.tokenguard += 1
                    yield entry
                elif entry.is_event:
                    stats.apiserver += 1
                    yield entry
                else:
                    stats.other += 1
    except (OSError, CorruptLogError) as error:
        stats.add_unreadable_log(log, error)


def _first_time(log: LogSource) -> dt.datetime:
    """Return the time of a log's first entry; the earliest possible if it has none or cannot be read."""
    with suppress(OSError, CorruptLogError), log.open() as file:
        for _, entry in read_records(file):
            if isinstance(entry, LogEntry) and (entry.is_tokenguard or entry.is_event):
                return entry.occurred
    return EARLIEST
