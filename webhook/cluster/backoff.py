"""How long to wait before the API server is asked again: longer after each failure, and not as long as others do."""

import random

CHANCE = random.SystemRandom()
"""Has no state: workers that were forked from one process don't wait for equally long."""
FIRST_DELAY, LONGEST_DELAY = 0.5, 15.0
LONGEST_ASKED = 60.0
"""How long a Retry-After is obeyed, in seconds: a proxy that says a day must not hide a day's Secrets."""


def delay_after(failures: int, asked: float = 0.0) -> float:
    """Return the seconds to wait after so many failures in a row, the last of which asked for so many."""
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 10))
    obeyed = min(asked, LONGEST_ASKED) * CHANCE.uniform(1, 1.25)
    return max(delay * CHANCE.uniform(0.5, 1), obeyed)
