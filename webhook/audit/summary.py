"""What audit logs tell in all: who was denied, patched, warned or exempted, and whose tokens are past their hour."""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from webhook.audit.bounded_counter import BoundedCounter
from webhook.audit.correlate import Correlator
from webhook.audit.events import COUNTED_OUTCOMES, AuditOutcome, DecisionEvent, TokenUseEvent
from webhook.audit.log_entry import LogEntry
from webhook.audit.merge import ReadStats
from webhook.audit.parse_apiserver import parse_event
from webhook.audit.parse_tokenguard import parse_record

_MAX_SENDERS = 5
_ACCOUNT = "system:serviceaccount:"


class OutcomeCounts:
    """How many had which outcome; `outcomes` are counted in the order of `COUNTED_OUTCOMES`."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * len(COUNTED_OUTCOMES)

    @property
    def weight(self) -> int:
        """How many in all."""
        return sum(self.counts)

    def add(self, other: Self) -> None:
        """Add others."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]

    def __getitem__(self, outcome: AuditOutcome) -> int:
        return self.counts[outcome]


class TokenUseCount:
    """The requests that one account's clients made with such tokens: first and last, and who sent some of them."""

    __slots__ = ("about", "agents", "first", "last", "past", "pods", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.past = 0
        self.first: dt.datetime | None = None
        self.last: dt.datetime | None = None
        self.pods: dict[str, None] = {}
        self.agents: dict[str, None] = {}
        self.about: dict[str, None] = {}

    @property
    def weight(self) -> int:
        """How many requests."""
        return self.requests

    def count(self, use: TokenUseEvent) -> None:
        """Count one request."""
        self.requests += 1
        self._see(use.time, use.time, use.past)
        _keep(self.pods, (use.pod,))
        _keep(self.agents, (use.agent,))
        _keep(self.about, use.about)

    def add(self, other: Self) -> None:
        """Add another account's."""
        self.requests += other.requests
        if other.first and other.last:
            self._see(other.first, other.last, other.past)

    def _see(self, first: dt.datetime, last: dt.datetime, past: int) -> None:
        self.first = min(self.first, first) if self.first else first
        self.last = max(self.last, last) if self.last else last
        self.past = max(self.past, past)


def _keep(known: dict[str, None], more: Iterable[str]) -> None:
    for one in more:
        if one and len(known) < _MAX_SENDERS:
            known[one] = None


@dataclass
class DecisionCounts:
    """What was decided, as one of the two logs tells it. Dry runs are in `dry_runs` alone.

    `rules` counts requests by a rule that they broke, which may be several, and by what was done about that rule.
    `sampled` is how many lines stand for more than themselves, `sampled_for` for how many.
    """

    requests: int = 0
    outcomes: OutcomeCounts = field(default_factory=OutcomeCounts)
    dry_runs: OutcomeCounts = field(default_factory=OutcomeCounts)
    rules: BoundedCounter[OutcomeCounts] = field(default_factory=lambda: BoundedCounter(OutcomeCounts, 1000))
    namespaces: BoundedCounter[OutcomeCounts] = field(default_factory=lambda: BoundedCounter(OutcomeCounts))
    accounts: BoundedCounter[OutcomeCounts] = field(default_factory=lambda: BoundedCounter(OutcomeCounts))
    days: BoundedCounter[OutcomeCounts] = field(default_factory=lambda: BoundedCounter(OutcomeCounts, 4000))
    exemptions: BoundedCounter[OutcomeCounts] = field(default_factory=lambda: BoundedCounter(OutcomeCounts, 5000))
    sampled: int = 0
    sampled_for: float = 0.0

    def count(self, one: DecisionEvent) -> None:
        """Count a request."""
        outcomes = [] if one.outcome is AuditOutcome.ALLOWED else [one.outcome]
        if one.exemptions:
            outcomes.append(AuditOutcome.EXEMPTED)
        if one.dry_run:
            for outcome in outcomes:
                self.dry_runs.counts[outcome] += 1
            return
        self.requests += 1
        if not outcomes:
            return
        rows = [
            self.outcomes,
            self.namespaces.at(one.namespace),
            self.accounts.at(one.account),
            self.days.at(_day(one.time)),
        ]
        for outcome in outcomes:
            for row in rows:
                row.counts[outcome] += 1
        for rule, done in one.rules:
            self.rules.at(rule).counts[done] += 1
        if not one.rules and one.outcome in (AuditOutcome.DENIED, AuditOutcome.WARNED):
            self.rules.at("").counts[one.outcome] += 1  # it could not be judged
        for rule, reason in one.exemptions:
            self.rules.at(rule).counts[AuditOutcome.EXEMPTED] += 1
            self.exemptions.at(f"{rule}: {reason}").counts[AuditOutcome.EXEMPTED] += 1


class Summary:
    """Takes lines in the order of their times, and counts.

    `own` is by tokenguard's log, `told` by the API server's; the two aren't added up, since they speak of the same
    requests. `since` and `until` are the first and the last day (UTC) that count.
    """

    def __init__(self, since: dt.date | None = None, until: dt.date | None = None) -> None:
        self._since = since or dt.date.min
        self._until = until or dt.date.max
        self._bounded = since is not None or until is not None
        self.tokenguard = DecisionCounts()
        self.apiserver = DecisionCounts()
        self.stale: BoundedCounter[TokenUseCount] = BoundedCounter(TokenUseCount)
        self.legacy: BoundedCounter[TokenUseCount] = BoundedCounter(TokenUseCount)
        self.first: dt.datetime | None = None
        self.last: dt.datetime | None = None
        self.stats = ReadStats()
        self._pairs = Correlator(self.tokenguard.count)

    def read(self, lines: Iterable[LogEntry], step: Callable[[], None] = lambda: None) -> None:
        """Count lines, all there are. `step` is called every thousand."""
        lines = iter(lines)
        add = self._add
        while some := list(islice(lines, 1000)):
            for line in some:
                add(line)
            step()
        self._pairs.flush()

    @property
    def found(self) -> bool:
        """Whether somebody was denied, or uses a token that is past its hour or never ends."""
        denied = self.tokenguard.outcomes[AuditOutcome.DENIED] or self.apiserver.outcomes[AuditOutcome.DENIED]
        return bool(denied or len(self.stale) or len(self.legacy))

    def _add(self, line: LogEntry) -> None:
        time = line.time if line.is_tokenguard else line.stage_timestamp
        if time is None or (self._bounded and not self._since <= time.astimezone(dt.UTC).date() <= self._until):
            return
        self.first = min(self.first, time) if self.first else time
        self.last = max(self.last, time) if self.last else time
        if line.is_tokenguard:
            if line.sample:
                self.tokenguard.sampled += 1
                self.tokenguard.sampled_for += 1 / line.sample
            self._pairs.add(parse_record(line))
            return
        if line.annotations:
            for one in parse_event(line):
                if isinstance(one, DecisionEvent):
                    self.apiserver.count(one)
                else:
                    (self.legacy if one.legacy else self.stale).at(account_of(one.user)).count(one)


def account_of(user: str) -> str:
    """Return a ServiceAccount's user name as `namespace/name`; any other as it is."""
    return user.removeprefix(_ACCOUNT).replace(":", "/", 1) if user.startswith(_ACCOUNT) else user


def _day(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).date().isoformat()
