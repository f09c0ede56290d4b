"""The memory limit for the bodies of requests that are arriving."""

MAX_AT_ONCE = 8
"""This many bodies of the maximum size may be held while they arrive."""
SMALL_BYTES = 256 << 10
"""The first bytes of each body have a budget of their own, so that large bodies leave room for small ones."""


class BodyBudget:
    """A limit, in bytes, for all bodies that arrive in pieces. A body that arrives in one piece is not counted."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max = MAX_AT_ONCE * max_body_bytes
        self._small = self._large = 0

    def resize(self, before: int, after: int) -> bool:
        """Change the size of a body from `before` to `after`; return False, and change nothing, if there is no room."""
        small = self._small + min(after, SMALL_BYTES) - min(before, SMALL_BYTES)
        large = self._large + max(after - SMALL_BYTES, 0) - max(before - SMALL_BYTES, 0)
        if self._small < small > self._max or self._large < large > self._max:
            return False
        self._small, self._large = small, large
        return True
