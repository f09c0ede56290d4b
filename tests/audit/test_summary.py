"""Counting by name in bounded memory."""

import random

from webhook.audit.events import AuditOutcome
from webhook.audit.summary import BoundedCounter, RecordedOutcomes


def test_counter_orders_names_by_frequency_then_name():
    table = BoundedCounter(RecordedOutcomes)
    for name in "bcabcbdd":
        table.at(name).counts[AuditOutcome.DENIED] += 1
    assert [(name, row.weight) for name, row in table.most_frequent()] == [("b", 3), ("c", 2), ("d", 2), ("a", 1)]
    assert [name for name, _ in table.by_name()] == list("abcd")


def test_counter_with_too_many_names_keeps_frequent_ones_and_sum():
    table = BoundedCounter(RecordedOutcomes, 100)
    drawn = random.Random(1)
    names = [f"rare-{at}" for at in range(20_000)] + [f"often-{at % 10}" for at in range(20_000)]
    drawn.shuffle(names)
    for name in names:
        table.at(name).counts[AuditOutcome.WARNED] += 1
        assert len(table) <= 100
    assert {name for name, _ in list(table.most_frequent())[:10]} == {f"often-{at}" for at in range(10)}
    assert sum(row.weight for _, row in table.most_frequent()) + table.others.weight == 40_000
    assert table.dropped > 19_000
