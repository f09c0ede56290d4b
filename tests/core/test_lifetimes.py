"""Lifetimes of tokens, and what is left of one when the kubelet refreshes it."""

import pytest

from webhook.core import lifetimes

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("lifetime", "left"),
    [
        pytest.param(600, 120, id="shortest"),
        pytest.param(HOUR, 720, id="hour"),
        pytest.param(DAY, 17280, id="day"),
        pytest.param(30 * HOUR, 6 * HOUR, id="80-percent-is-24-hours"),
        pytest.param(10 * DAY, 9 * DAY, id="24-hours-before-80-percent"),
        pytest.param(lifetimes.YEAR, lifetimes.YEAR - DAY, id="year"),
    ],
)
def test_left_at_refresh_is_a_fifth_or_all_but_a_day(lifetime: int, left: int) -> None:
    assert lifetimes.remaining_at_refresh(lifetime) == left
