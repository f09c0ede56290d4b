"""Durations in words."""

import datetime as dt

_UNITS = (("year", 31_536_000), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_MAX_UNITS = 2


def humanize_seconds(seconds: float) -> str:
    """Return a duration in at most two units, rounded down: `1 hour 7 seconds`. A year has 365 days."""
    rest = abs(int(seconds))
    words = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count} {unit}" if count == 1 else f"{count} {unit}s")
    return " ".join(words[:_MAX_UNITS]) or "0 seconds"


def humanize_interval(start: dt.datetime, end: dt.datetime) -> str:
    """Return the time between two times, in either order."""
    return humanize_seconds((end - start).total_seconds())
