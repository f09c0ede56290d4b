"""Metrics of what is in force: the policy with its exemptions, the state, the certificate; for all workers at once.

Where workers differ, the worst of them is told: the oldest state, the certificate that ends first, the one that isn't
ready.
"""

import datetime as dt
import time
from calendar import timegm
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from webhook.core.policy.exemptions import Exemption
from webhook.core.rules import BY_NAME
from webhook.core.text import plain
from webhook.server.catalogue import (
    AGE,
    CERTIFICATE,
    EXEMPTION_END,
    EXEMPTIONS,
    LEGACY,
    OBJECTS,
    POLICY,
    READY,
    About,
)
from webhook.server.standing import Standings
from webhook.server.state import State

MOST_EXEMPTIONS = 100
"""So many are told of one by one: those that end first."""
_LONGEST = 100
_DAY = 86_400
_DAYS_LEFT = ((7, "0-7"), (30, "8-30"), (90, "31-90"))
DAYS_LEFT = ("ended", *(name for _, name in _DAYS_LEFT), "more", "never")


class InForce(Collector):
    """What is in force."""

    def __init__(self, state: State, standings: Standings, clock: Callable[[], float] = time.time) -> None:
        """Take this worker's state and what the others have told; `clock` is Unix time."""
        self._state = state
        self._standings = standings
        self._clock = clock

    def registry(self) -> CollectorRegistry:
        """Return a registry that holds it."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what there is now."""
        every = self._standings.all(self._state)
        yield _family(READY, ((), float(all(one.ready for one in every))))
        yield _family(POLICY, *{((one.revision, one.mode), 1.0) for one in every if one.revision})
        yield from self._exemptions()
        objects = {what: max(one.objects.get(what, 0) for one in every) for one in every for what in one.objects}
        yield _family(LEGACY, *(((), float(count)) for what, count in objects.items() if what == "Secrets"))
        yield _family(OBJECTS, *(((what,), float(count)) for what, count in objects.items()))
        heard: dict[str, float] = {}
        for one in every:
            for what, when in one.heard.items():
                heard[what] = min(when, heard.get(what, when))
        now = time.monotonic()
        yield _family(AGE, *(((what,), max(now - when, 0.0)) for what, when in heard.items()))
        ends = [one.certificate_ends for one in every if one.certificate_ends is not None]
        yield _family(CERTIFICATE, *(((), end) for end in sorted(ends)[:1]))

    def _exemptions(self) -> Iterator[GaugeMetricFamily]:
        snapshot = self._state.snapshot
        exemptions = snapshot.policy.exemptions if snapshot else ()
        today = dt.datetime.fromtimestamp(self._clock(), dt.UTC).date()
        counts = Counter(days_left(one, today) for one in exemptions)
        yield _family(EXEMPTIONS, *(((name,), float(counts[name])) for name in DAYS_LEFT if snapshot))
        first = first_to_end(exemptions, today)
        yield _family(EXEMPTION_END, *(_end(number, exemptions[number], until) for until, number in first))


def days_left(exemption: Exemption, today: dt.date) -> str:
    """Return which of `DAYS_LEFT` an exemption belongs to on a day (UTC); on its last day 0 are left."""
    if exemption.until is None:
        return "never"
    days = (exemption.until - today).days
    return "ended" if days < 0 else next((name for most, name in _DAYS_LEFT if days <= most), "more")


def first_to_end(exemptions: Sequence[Exemption], today: dt.date) -> list[tuple[dt.date, int]]:
    """Return the last day, and the place in the policy, of those that are told of one by one.

    First come those to end next, then those that have ended, the last to end first.
    """
    ends = [(one.until, number) for number, one in enumerate(exemptions) if one.until is not None]
    coming = sorted(one for one in ends if one[0] >= today)
    ended = sorted((one for one in ends if one[0] < today), reverse=True)
    return (coming + ended)[:MOST_EXEMPTIONS]


def _end(number: int, exemption: Exemption, until: dt.date) -> tuple[tuple[str, ...], float]:
    rules = "*" if len(exemption.rules) == len(BY_NAME) else ",".join(exemption.rules)
    why = plain(exemption.reason[:_LONGEST])
    return (f"exemptions[{number}]", rules, why), float(timegm(until.timetuple()) + _DAY)  # until that day is over


def _family(about: About, *samples: tuple[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(about.name, about.text, labels=about.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
