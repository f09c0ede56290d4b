"""How long to wait before the API server is asked again: longer after each failure, and not as long as others do.

Two kinds of failures wait differently. A server that cannot be reached is not loaded by another try, so it is tried at
least once a second and found soon after it is back. A server that answers with a refusal (429, 5xx, 403) may be
overloaded: those waits grow, and its Retry-After is obeyed.
"""

import random
import threading
from collections.abc import Callable

from webhook.cluster.transport import ApiError

CHANCE = random.SystemRandom()
"""Has no state: workers that were forked from one process don't wait for equally long."""
FIRST_DELAY, LONGEST_DELAY = 0.5, 15.0
UNREACHABLE_DELAY = 1.0
"""The longest wait while the API server cannot be reached, in seconds."""
INFORMER_GROWTH = 1.5
"""An informer's waits grow by this factor, so that a wait is at most half as long as the refusals have lasted: an API
server that starts answers 403 and 500 for some seconds before it is ready."""
_OUTAGE = 3
LONGEST_ASKED = 60.0
"""How long a Retry-After is obeyed, in seconds: a proxy that says a day must not hide a day's Secrets."""


def delay_after(failures: int, asked: float = 0.0, growth: float = 2.0) -> float:
    """Return the seconds to wait after so many failures in a row, the last of which asked for so many."""
    delay = min(LONGEST_DELAY, FIRST_DELAY * growth ** min(failures - 1, 20))
    obeyed = min(asked, LONGEST_ASKED) * CHANCE.uniform(1, 1.25)
    return max(delay * CHANCE.uniform(0.5, 1), obeyed)


class Backoff:
    """The waits of one informer: failures to reach the API server and refusals are counted apart.

    An outage adds nothing to the wait after a refusal; one of several tries ends what was counted before it.
    """

    def __init__(self) -> None:
        self._unreachable = self._refusals = self._lists = 0

    def delay(self, error: ApiError, *, relists: bool, expired: bool) -> float:
        """Count a failure; return the seconds to wait after it.

        `relists` says that all objects are listed next; `expired` that the version a watch began at is no longer known,
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
        """Forget the failures: all objects were listed. Lists without a watch between them are counted."""
        self._unreachable = self._refusals = 0
        self._lists += 1

    def reset(self) -> None:
        """Forget the failures and lists: a watch works."""
        self._unreachable = self._refusals = self._lists = 0


class Reachability:
    """What the informers of one API server share: an answer to one of them ends the others' waits for a connection.

    It ends no wait after a refusal: those are the API server's to decide. It learns of answered requests, not of
    events in a watch, so an informer that alone cannot connect is not woken without end.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._answers = 0

    def note_answer(self) -> None:
        """Wake all who wait for a connection: the API server has answered a request."""
        with self._condition:
            self._answers += 1
            self._condition.notify_all()

    def wait(self, seconds: float, is_stopping: Callable[[], bool]) -> None:
        """Wait for an answer to somebody else, so many seconds at most, or until `is_stopping` after `wake`."""
        with self._condition:
            before = self._answers
            self._condition.wait_for(lambda: self._answers != before or is_stopping(), seconds)

    def wake(self) -> None:
        """Have all who wait look whether they are to stop."""
        with self._condition:
            self._condition.notify_all()
