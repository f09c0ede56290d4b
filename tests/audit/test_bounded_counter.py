"""Counting by name in bounded memory: the frequent stay, and nothing is lost of the sum."""

import random

from webhook.audit.bounded_counter import Table
from webhook.audit.events import Fate
from webhook.audit.summary import Fates


def test_names_are_told_by_how_often_they_came_up_and_then_by_name():
    table = Table(Fates)
    for name in "bcabcbdd":
        table.at(name).counts[Fate.DENIED] += 1
    assert [(name, row.weight) for name, row in table.ranked()] == [("b", 3), ("c", 2), ("d", 2), ("a", 1)]
    assert [name for name, _ in table.in_order()] == list("abcd")


def test_however_many_names_there_are_the_frequent_are_kept_and_the_sum_is_exact():
    table = Table(Fates, 100)
    drawn = random.Random(1)
    names = [f"rare-{at}" for at in range(20_000)] + [f"often-{at % 10}" for at in range(20_000)]
    drawn.shuffle(names)
    for name in names:
        table.at(name).counts[Fate.WARNED] += 1
        assert len(table) <= 100
    assert {name for name, _ in list(table.ranked())[:10]} == {f"often-{at}" for at in range(10)}
    assert sum(row.weight for _, row in table.ranked()) + table.rest.weight == 40_000
    assert table.dropped > 19_000
