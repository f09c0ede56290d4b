"""Waiting times between requests to the API server: they grow after each failure, with jitter.

A server that cannot be reached is not loaded by another try: it is tried at least once a second. A server that refuses
(429, 5xx, 403) may be overloaded: those waits grow, and its Retry-After is obeyed.
"""

import random
import threading
from collections.abc import Callable

from webhook.cluster.transport import ApiError

CHANCE = random.SystemRandom()
"""Stateless: processes forked from the same one get different numbers."""
FIRST_DELAY, MAX_DELAY = 0.5, 15.0
UNREACHABLE_DELAY = 1.0
"""The longest wait while the API server cannot be reached, in seconds."""
INFORMER_GROWTH = 1.5
"""A factor that keeps a wait below half of the time that refusals have lasted: an API server that starts answers 403
and 500 for some seconds before it is ready."""
_OUTAGE = 3
MAX_RETRY_AFTER = 60.0
"""How long a Retry-After is obeyed, in seconds: a proxy that says a day must not hide a day's Secrets."""


def delay_after(failures: int, retry_after: float = 0.0, growth: float = 2.0) -> float:
    """Return the seconds to wait after `failures` failures in a row, the last with this Retry-After."""
    delay = min(MAX_DELAY, FIRST_DELAY * growth ** min(failures - 1, 20))
    return max(delay * CHANCE.uniform(0.5, 1), min(retry_after, MAX_RETRY_AFTER) * CHANCE.uniform(1, 1.25))


class Backoff:
    """The waits of one informer: failed connections and refusals are counted separately.

    An outage does not lengthen the wait after a refusal; an outage of several tries ends the count of refusals.
    """

    def __init__(self) -> None:
        self._unreachable = self._refusals = self._lists = 0

    def delay(self, error: ApiError, *, relists: bool, expired: bool) -> float:
        """Count a failure; return the seconds to wait after it.

        `relists` means that all objects are listed next; `expired` that the watch's resourceVersion is no longer known,
        which is no sign of load.
        """
        if error.unreachable:
            self._unreachable += 1
            if self._unreachable >= _OUTAGE:
                self._refusals = 0
            return min(delay_after(self._unreachable), UNREACHABLE_DELAY * CHANCE.uniform(0.5, 1))
        self._unreachable = 0
        self._refusals += not expired
        failures = max(0 if expired else self._refusals, self._lists if relists else 0, 1)
        return delay_after(failures, error.retry_after, INFORMER_GROWTH)

    def note_list(self) -> None:
        """Reset the counts of failures after a list. Lists without a watch between them are counted."""
        self._unreachable = self._refusals = 0
        self._lists += 1

    def reset(self) -> None:
        """Reset all counts: a watch works."""
        self._unreachable = self._refusals = self._lists = 0


class Reachability:
    """Shared by the informers of one API server: an answer to one of them ends the others' waits for a connection.

    It does not end waits after refusals. Events in a watch do not count as answers, so an informer that alone cannot
    connect is not woken in an endless loop.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._answers = 0

    def note_answer(self) -> None:
        """Wake all that wait for a connection."""
        with self._condition:
            self._answers += 1
            self._condition.notify_all()

    def wait(self, seconds: float, is_stopping: Callable[[], bool]) -> None:
        """Wait for an answer to another informer, at most `seconds`, or until `wake` while `is_stopping`."""
        with self._condition:
            before = self._answers
            self._condition.wait_for(lambda: self._answers != before or is_stopping(), seconds)

    def wake(self) -> None:
        """Have all that wait check whether to stop."""
        with self._condition:
            self._condition.notify_all()
