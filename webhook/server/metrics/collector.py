"""Exposes the recorder's counters, and gauges of the policy, the cluster state and the certificate in use."""

import datetime as dt
import time
from calendar import timegm
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from webhook.core.formatting import plain
from webhook.core.policy.exemptions import Exemption
from webhook.core.rules import BY_NAME
from webhook.core.snapshot import Snapshot
from webhook.server.metrics import definitions
from webhook.server.metrics.definitions import DURATION, Definition
from webhook.server.metrics.recorder import BUCKETS, WEBHOOKS, Metrics
from webhook.server.metrics.scan_status import scan_samples
from webhook.server.readiness import readiness_error
from webhook.server.state import State

MAX_EXEMPTIONS = 100
"""Exemptions with a series of their own: those that expire first."""
_MAX_REASON = 100
_DAY = 86_400
_DAYS_LEFT = ((7, "0-7"), (30, "8-30"), (90, "31-90"))
DAYS_LEFT = ("expired", *(name for _, name in _DAYS_LEFT), "91+", "never")
_BOUNDS = [*map(str, BUCKETS), "+Inf"]
_EMPTY = [0.0] * (len(_BOUNDS) + 1)


class MetricsCollector(Collector):
    """Collects all metrics at a scrape, in any thread."""

    def __init__(
        self,
        metrics: Metrics,
        state: State,
        clock: Callable[[], float] = time.time,
        scan_status: Path | None = None,
    ) -> None:
        """`clock` returns Unix time in seconds; `scan_status` is the file with the status of the background scan."""
        self._metrics = metrics
        self._state = state
        self._clock = clock
        self._scan_status = scan_status

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its current values."""
        yield from self._reviews()
        for definition, cells in self._metrics.values.items():
            # A copy, because the event loop goes on counting.
            yield _family(definition, [(labels, cell.value) for labels, cell in cells.copy().items()])
        yield from self._state_families()
        for definition, samples in scan_samples(self._scan_status):
            yield _family(definition, samples)

    def _reviews(self) -> Iterator[Metric]:
        reviews = {labels: tuple(review) for labels, review in self._metrics.reviews.copy().items()}
        yield _family(definitions.REVIEWS, [(labels, sum(counts)) for labels, (*counts, _) in reviews.items()])
        durations = HistogramMetricFamily(DURATION.name, DURATION.help, labels=DURATION.labels)
        for webhook in WEBHOOKS:
            columns = zip(_EMPTY, *(review for labels, review in reviews.items() if labels[0] == webhook), strict=True)
            *counts, seconds = map(sum, columns)
            durations.add_metric([webhook], list(zip(_BOUNDS, accumulate(counts), strict=True)), seconds)
        yield durations

    def _state_families(self) -> Iterator[Metric]:
        state, snapshot = self._state, self._state.snapshot
        yield _family(definitions.READY, [((), float(not readiness_error(state)))])
        policy = snapshot.policy if snapshot else None
        yield _family(definitions.POLICY, [((policy.revision, policy.mode), 1.0)] if policy else [])
        yield from self._exemptions(snapshot)
        secrets = [float(sum(map(len, snapshot.cluster.legacy_tokens.values())))] if snapshot else []
        namespaces = [float(len(snapshot.cluster.namespaces))] if snapshot else []
        yield _family(definitions.LEGACY_SECRETS, [((), count) for count in secrets])
        disabled = [float(snapshot.cluster.disabled_tokens)] if snapshot else []
        yield _family(definitions.DISABLED_SECRETS, [((), count) for count in disabled])
        objects = [(("secrets",), count) for count in secrets] + [(("namespaces",), count) for count in namespaces]
        yield _family(definitions.OBJECTS, objects)
        now = time.monotonic()
        ages = [((part.lower(),), max(now - synced, 0.0)) for part, synced in dict(state.last_synced).items()]
        yield _family(definitions.STATE_AGE, ages)
        expiry = [((), state.certificate.not_after.timestamp())] if state.certificate else []
        yield _family(definitions.CERTIFICATE_EXPIRY, expiry)
        in_sync = state.backstop_in_sync
        yield _family(definitions.BACKSTOP, [] if in_sync is None else [((), float(in_sync))])

    def _exemptions(self, snapshot: Snapshot | None) -> Iterator[Metric]:
        exemptions = snapshot.policy.exemptions if snapshot else ()
        today = dt.datetime.fromtimestamp(self._clock(), dt.UTC).date()
        counts = Counter(days_left(exemption, today) for exemption in exemptions)
        yield _family(definitions.EXEMPTIONS, [((name,), float(counts[name])) for name in DAYS_LEFT if snapshot])
        first = first_to_expire(exemptions, today)
        expiries = [_exemption_expiry(number, exemptions[number], until) for until, number in first]
        yield _family(definitions.EXEMPTION_EXPIRY, expiries)


def days_left(exemption: Exemption, today: dt.date) -> str:
    """Return which of `DAYS_LEFT` an exemption belongs to on a day (UTC); on its last day 0 are left."""
    if exemption.until is None:
        return "never"
    days = (exemption.until - today).days
    return "expired" if days < 0 else next((name for most, name in _DAYS_LEFT if days <= most), "91+")


def first_to_expire(exemptions: Sequence[Exemption], today: dt.date) -> list[tuple[dt.date, int]]:
    """Return the last day and the index of the exemptions that have a series of their own.

    First come those that expire next, then those that have expired, most recent first.
    """
    expiries = [(exemption.until, index) for index, exemption in enumerate(exemptions) if exemption.until is not None]
    coming = sorted(expiry for expiry in expiries if expiry[0] >= today)
    expired = sorted((expiry for expiry in expiries if expiry[0] < today), reverse=True)
    return (coming + expired)[:MAX_EXEMPTIONS]


def _exemption_expiry(index: int, exemption: Exemption, until: dt.date) -> tuple[tuple[str, ...], float]:
    rules = "*" if len(exemption.rules) == len(BY_NAME) else ",".join(exemption.rules)
    reason = plain(exemption.reason[:_MAX_REASON])
    end = timegm(until.timetuple()) + _DAY  # valid until that day is over
    return (f"exemptions[{index}]", rules, reason), float(end)


def _family(definition: Definition, samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    kind = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
    family = kind(definition.name, definition.help, labels=definition.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
