"""Values of labels: from few, known words, or the first so many that come, whatever is sent.

Who can make objects chooses their namespaces and audiences, and every value of a label is a time series that a
monitoring system keeps. So what comes from an object is bounded in number, in length and in its characters.
"""

import fcntl
import re
from bisect import bisect_left
from collections.abc import Collection
from pathlib import Path

OTHER = "_other"
"""All values past the bound, and those that aren't fit; neither a namespace nor an audience begins with _."""
API_SERVER = "_api-server"
"""In place of an audience: the token is for the API server, whether it names it or names nobody."""

AUDIENCE = re.compile(r"(?=.{1,128}\Z)(?://)?[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:[._:/@]{1,3}[A-Za-z0-9-]{1,63})*/?")
"""What URLs and names are made of, in parts no longer than a DNS label: those of a token are longer."""

_LIFETIMES = (("10m", 600), ("1h", 3600), ("1d", 86_400), ("7d", 604_800), ("30d", 2_592_000), ("1y", 31_536_000))
LIFETIMES = (*(name for name, _ in _LIFETIMES), "longer")
"""The values of a label that says how long a token lives: at most so long, and longer than the one before."""
_BOUNDS = [seconds for _, seconds in _LIFETIMES]


def lifetime(seconds: int) -> str:
    """Return which of `LIFETIMES` a token belongs to that lives so many seconds."""
    return LIFETIMES[bisect_left(_BOUNDS, seconds)]


class FirstValues:
    """The first so many values of a label. Those that come later are `OTHER`, and so are unfit ones.

    All workers have them in common, in a file: metrics that are summed over the workers then have no more values than
    those of one. They are remembered as long as the server runs.
    """

    def __init__(self, file: Path | None, most: int, fit: re.Pattern[str]) -> None:
        """Take the file in the workers' common folder (None: there is but this process), how many, and what is fit."""
        self._file = file
        self._most = most
        self._fit = fit
        self._known: Collection[str] = frozenset()

    def value(self, wanted: str) -> str:
        """Return the label's value for what an object says. Never raises: a decision must not fail for a metric."""
        if wanted in self._known:
            return wanted
        if len(self._known) >= self._most or not self._fit.fullmatch(wanted):
            return OTHER
        try:
            self._known = self._with(wanted)
        except OSError:  # no room, or too many open files: it is tried again with the next one
            return OTHER
        return wanted if wanted in self._known else OTHER

    def _with(self, wanted: str) -> Collection[str]:
        """Return the values that all workers know, `wanted` among them where there is room for it."""
        if self._file is None:
            return frozenset((*self._known, wanted))
        with self._file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = file.read().split()
            if wanted not in known and len(known) < self._most:
                file.write(f"{wanted}\n")
                known.append(wanted)
            return frozenset(known)
