"""Label values are from short fixed lists, or a bounded number of names from requests.

Authors of objects choose namespaces and audiences, and every label value is a time series that a monitoring system
stores. So values from objects are bounded in number, length and characters.
"""

import re
from bisect import bisect_left
from collections.abc import Callable

OTHER = "_other"
"""Every value past the limit, and every malformed one; neither a namespace nor an audience begins with `_`."""
API_SERVER = "_api-server"
"""The audience label of a token for the API server, whether it names the API server or no audience."""
MAX_NAMESPACES = 100
MAX_AUDIENCES = 50
MAX_AUDIENCES_PER_NAMESPACE = 10
MAX_AUDIENCE_LENGTH = 128

AUDIENCE = re.compile(
    rf"(?=.{{1,{MAX_AUDIENCE_LENGTH}}}\Z)(?://)?"
    r"[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:[._:/@]{1,3}[A-Za-z0-9-]{1,63})*/?"
)
"""The characters of URLs and names, in parts no longer than a DNS label: those of a token are longer."""

_LIFETIMES = (("10m", 600), ("1h", 3600), ("1d", 86_400), ("7d", 604_800), ("30d", 2_592_000), ("1y", 31_536_000))
LIFETIMES = (*(name for name, _ in _LIFETIMES), "longer")
"""The values of the lifetime label, each up to this duration and longer than the one before."""
_SECONDS = [seconds for _, seconds in _LIFETIMES]


def lifetime_label(seconds: int) -> str:
    """Return which of `LIFETIMES` a token lifetime belongs to."""
    return LIFETIMES[bisect_left(_SECONDS, seconds)]


class LabelValues:
    """The first `limit` valid values of a label, at most `share` of them from one source; all others are `OTHER`.

    A value stays until the process ends, because a counter must not disappear.
    """

    def __init__(self, limit: int, is_valid: Callable[[str], object], share: int | None = None) -> None:
        self._limit = limit
        self._is_valid = is_valid
        self._share = limit if share is None else share
        self._sources: dict[str, str] = {}

    def label(self, value: str, source: str = "") -> str:
        """Return the label for a value in an object. `source` has to come from a bounded set itself."""
        return value if value in self._sources or self._add(value, source) else OTHER

    def _add(self, value: str, source: str) -> bool:
        if len(self._sources) >= self._limit or not self._is_valid(value):
            return False
        if [*self._sources.values()].count(source) >= self._share:
            return False
        self._sources[value] = source
        return True
