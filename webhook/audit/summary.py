"""The summary of audit logs: numbers of decisions, and accounts whose clients use stale or legacy tokens."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Self, TypeVar

from webhook.audit.correlate import Correlator
from webhook.audit.events import COUNTED_OUTCOMES, AuditOutcome, DecisionEvent, TokenUseEvent, parse_event, parse_record
from webhook.audit.log_entry import LogEntry
from webhook.audit.merge import ReadStats
from webhook.audit.refused_uses import RefusedUseEvent, RefusedUseFinder

_MAX_EXAMPLES = 5
_ACCOUNT = "system:serviceaccount:"
_BATCH = 1000


class RecordedOutcomes:
    """Numbers of requests by outcome, in the order of `COUNTED_OUTCOMES`."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * len(COUNTED_OUTCOMES)

    @property
    def weight(self) -> int:
        """The number of requests."""
        return sum(self.counts)

    def add(self, other: Self) -> None:
        """Add other counts."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]

    def __getitem__(self, outcome: AuditOutcome) -> int:
        return self.counts[outcome]


class TokenUseCount:
    """The requests with the stale, legacy or disabled tokens of one row, and examples of their senders."""

    __slots__ = ("clients", "details", "first", "last", "pods", "requests", "seconds_stale")

    def __init__(self) -> None:
        self.requests = 0
        self.seconds_stale = 0
        self.first: dt.datetime | None = None
        self.last: dt.datetime | None = None
        self.pods: dict[str, None] = {}
        self.clients: dict[str, None] = {}
        self.details: dict[str, None] = {}

    @property
    def weight(self) -> int:
        """The number of requests."""
        return self.requests

    def count(self, use: TokenUseEvent) -> None:
        """Count one request."""
        self.requests += 1
        self._extend(use.time, use.time, use.seconds_stale)
        _add_examples(self.pods, (use.pod,))
        _add_examples(self.clients, (use.client,))
        _add_examples(self.details, use.details)

    def count_refused(self, use: RefusedUseEvent) -> None:
        """Count one refused request."""
        self.requests += 1
        self._extend(use.time, use.time, 0)

    def add(self, other: Self) -> None:
        """Add another account's count."""
        self.requests += other.requests
        if other.first and other.last:
            self._extend(other.first, other.last, other.seconds_stale)

    def _extend(self, first: dt.datetime, last: dt.datetime, seconds_stale: int) -> None:
        self.first = min(self.first, first) if self.first else first
        self.last = max(self.last, last) if self.last else last
        self.seconds_stale = max(self.seconds_stale, seconds_stale)


def _add_examples(examples: dict[str, None], values: Iterable[str]) -> None:
    for value in values:
        if value and len(examples) < _MAX_EXAMPLES:
            examples[value] = None


T = TypeVar("T", RecordedOutcomes, TokenUseCount)


class BoundedCounter(Generic[T]):
    """A count for each of at most `max_names` names; when it is full, the less frequent half moves into `others`.

    A single name's count is a lower bound, since the name may have been evicted and come back; the total is exact.
    """

    def __init__(self, make: Callable[[], T], max_names: int = 20_000) -> None:
        self._make: Callable[[], T] = make
        self._max_names = max_names
        self._counts: dict[str, T] = {}
        self.others: T = make()
        self.dropped = 0

    def at(self, name: str) -> T:
        """Return the count of a name."""
        count = self._counts.get(name)
        if count is None:
            if len(self._counts) >= self._max_names:
                self._evict()
            count = self._counts[name] = self._make()
        return count

    def __len__(self) -> int:
        return len(self._counts)

    def most_frequent(self) -> Iterator[tuple[str, T]]:
        """Yield names and counts, the most frequent first."""
        yield from sorted(self._counts.items(), key=lambda item: (-item[1].weight, item[0]))

    def by_name(self) -> Iterator[tuple[str, T]]:
        """Yield names and counts by name."""
        yield from sorted(self._counts.items(), key=lambda item: item[0])

    def _evict(self) -> None:
        ranked = list(self.most_frequent())
        remaining = len(ranked) // 2
        for _, count in ranked[remaining:]:
            self.others.add(count)
        self.dropped += len(ranked) - remaining
        self._counts = dict(ranked[:remaining])


OutcomeCounter = BoundedCounter[RecordedOutcomes]
TokenUseCounter = BoundedCounter[TokenUseCount]


@dataclass
class DecisionCounts:
    """The decisions in one of the two logs; dry runs count in `dry_runs` only.

    `rules` counts requests by violated rule (a request may violate several) and by the outcome of that rule.
    `sampled_records` are records of a sample, and represent `represented` requests.
    """

    requests: int = 0
    outcomes: RecordedOutcomes = field(default_factory=RecordedOutcomes)
    dry_runs: RecordedOutcomes = field(default_factory=RecordedOutcomes)
    rules: OutcomeCounter = field(default_factory=lambda: BoundedCounter(RecordedOutcomes, 1000))
    namespaces: OutcomeCounter = field(default_factory=lambda: BoundedCounter(RecordedOutcomes))
    accounts: OutcomeCounter = field(default_factory=lambda: BoundedCounter(RecordedOutcomes))
    days: OutcomeCounter = field(default_factory=lambda: BoundedCounter(RecordedOutcomes, 4000))
    exemptions: OutcomeCounter = field(default_factory=lambda: BoundedCounter(RecordedOutcomes, 5000))
    sampled_records: int = 0
    represented: float = 0.0

    def count(self, event: DecisionEvent) -> None:
        """Count one request."""
        outcomes = [] if event.outcome is AuditOutcome.ALLOWED else [event.outcome]
        if event.exemptions:
            outcomes.append(AuditOutcome.EXEMPTED)
        if event.dry_run:
            for outcome in outcomes:
                self.dry_runs.counts[outcome] += 1
            return
        self.requests += 1
        if not outcomes:
            return
        day = event.time.astimezone(dt.UTC).date().isoformat()
        for row in (
            self.outcomes, self.namespaces.at(event.namespace), self.accounts.at(event.account), self.days.at(day),
        ):  # fmt: skip
            for outcome in outcomes:
                row.counts[outcome] += 1
        for rule, rule_outcome in event.rules:
            self.rules.at(rule).counts[rule_outcome] += 1
        if not event.rules and event.outcome in (AuditOutcome.DENIED, AuditOutcome.WARNED):
            self.rules.at("").counts[event.outcome] += 1  # could not be evaluated
        for rule, reason in event.exemptions:
            self.rules.at(rule).counts[AuditOutcome.EXEMPTED] += 1
            self.exemptions.at(f"{rule}: {reason}").counts[AuditOutcome.EXEMPTED] += 1


class AuditSummary:
    """Counts log entries, which come in the order of their times.

    `tokenguard` and `apiserver` count the decisions in each log; they describe the same requests, so they are not added
    up. `since` and `until` are the first and the last day (UTC) that count.
    """

    def __init__(self, since: dt.date | None = None, until: dt.date | None = None) -> None:
        self._since = since or dt.date.min
        self._until = until or dt.date.max
        self._bounded = since is not None or until is not None
        self.tokenguard = DecisionCounts()
        self.apiserver = DecisionCounts()
        self.stale = TokenUseCounter(TokenUseCount)
        self.legacy = TokenUseCounter(TokenUseCount)
        self.refused = TokenUseCounter(TokenUseCount)
        self._refused_uses = RefusedUseFinder()
        self.first: dt.datetime | None = None
        self.last: dt.datetime | None = None
        self.stats = ReadStats()
        self._correlator = Correlator(self.tokenguard.count)

    def read(self, entries: Iterable[LogEntry], step: Callable[[], None] = lambda: None) -> None:
        """Count all entries. `step` is called after every thousand."""
        entries = iter(entries)
        while batch := list(islice(entries, _BATCH)):
            for entry in batch:
                self._add(entry)
            step()
        self._correlator.flush()

    def refused_uses(self) -> Iterator[tuple[tuple[str, str, str], TokenUseCount]]:
        """Yield Secret, address and client of refused uses of disabled tokens, the most frequent first."""
        for name, count in self.refused.most_frequent():
            secret, address, client = name.split("\0")
            yield (secret, address, client), count

    @property
    def has_findings(self) -> bool:
        """Whether a request was denied or a stale, legacy or disabled token was used."""
        denied = self.tokenguard.outcomes[AuditOutcome.DENIED] or self.apiserver.outcomes[AuditOutcome.DENIED]
        return bool(denied or len(self.stale) or len(self.legacy) or len(self.refused))

    def _add(self, entry: LogEntry) -> None:
        time = entry.occurred
        if self._bounded and not self._since <= time.astimezone(dt.UTC).date() <= self._until:
            return
        self.first = min(self.first, time) if self.first else time
        self.last = max(self.last, time) if self.last else time
        if entry.is_tokenguard:
            if entry.sample:
                self.tokenguard.sampled_records += 1
                self.tokenguard.represented += 1 / entry.sample
            self._correlator.add(parse_record(entry))
            return
        for use in self._refused_uses.find(entry):
            self.refused.at(f"{use.secret}\0{use.address}\0{use.client}").count_refused(use)
        if entry.annotations:
            for event in parse_event(entry):
                if isinstance(event, DecisionEvent):
                    self.apiserver.count(event)
                else:
                    (self.legacy if event.legacy else self.stale).at(_account(event.user)).count(event)


def _account(user: str) -> str:
    """Return a ServiceAccount's user name as `namespace/name`, any other unchanged."""
    return user.removeprefix(_ACCOUNT).replace(":", "/", 1) if user.startswith(_ACCOUNT) else user
