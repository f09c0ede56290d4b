"""What audit logs tell in all: who was denied, patched, warned or exempted, and whose tokens are past their hour."""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from webhook.audit.bounded_counter import Table
from webhook.audit.correlate import Pairs
from webhook.audit.events import FATES, Fate, TokenUse, Verdict
from webhook.audit.log_entry import Line
from webhook.audit.merge import Notes
from webhook.audit.parse_apiserver import from_event
from webhook.audit.parse_tokenguard import verdict

_MOST_SENDERS = 5
_ACCOUNT = "system:serviceaccount:"


class Fates:
    """How many had which fate; `fates` are counted in the order of `FATES`."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * len(FATES)

    @property
    def weight(self) -> int:
        """How many in all."""
        return sum(self.counts)

    def take(self, other: Self) -> None:
        """Add others."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]

    def __getitem__(self, fate: Fate) -> int:
        return self.counts[fate]


class Uses:
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

    def add(self, use: TokenUse) -> None:
        """Count one request."""
        self.requests += 1
        self._see(use.time, use.time, use.past)
        _keep(self.pods, (use.pod,))
        _keep(self.agents, (use.agent,))
        _keep(self.about, use.about)

    def take(self, other: Self) -> None:
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
        if one and len(known) < _MOST_SENDERS:
            known[one] = None


@dataclass
class Decisions:
    """What was decided, as one of the two logs tells it. Dry runs are in `dry_runs` alone.

    `rules` counts requests by a rule that they broke, which may be several, and by what was done about that rule.
    `sampled` is how many lines stand for more than themselves, `sampled_for` for how many.
    """

    requests: int = 0
    fates: Fates = field(default_factory=Fates)
    dry_runs: Fates = field(default_factory=Fates)
    rules: Table[Fates] = field(default_factory=lambda: Table(Fates, 1000))
    namespaces: Table[Fates] = field(default_factory=lambda: Table(Fates))
    accounts: Table[Fates] = field(default_factory=lambda: Table(Fates))
    days: Table[Fates] = field(default_factory=lambda: Table(Fates, 4000))
    exemptions: Table[Fates] = field(default_factory=lambda: Table(Fates, 5000))
    sampled: int = 0
    sampled_for: float = 0.0

    def count(self, one: Verdict) -> None:
        """Count a request."""
        fates = [] if one.fate is Fate.ALLOWED else [one.fate]
        if one.exemptions:
            fates.append(Fate.EXEMPTED)
        if one.dry_run:
            for fate in fates:
                self.dry_runs.counts[fate] += 1
            return
        self.requests += 1
        if not fates:
            return
        rows = [
            self.fates, self.namespaces.at(one.namespace), self.accounts.at(one.account), self.days.at(_day(one.time)),
        ]  # fmt: skip
        for fate in fates:
            for row in rows:
                row.counts[fate] += 1
        for rule, done in one.rules:
            self.rules.at(rule).counts[done] += 1
        if not one.rules and one.fate in (Fate.DENIED, Fate.WARNED):
            self.rules.at("").counts[one.fate] += 1  # it could not be judged
        for rule, reason in one.exemptions:
            self.rules.at(rule).counts[Fate.EXEMPTED] += 1
            self.exemptions.at(f"{rule}: {reason}").counts[Fate.EXEMPTED] += 1


class Summary:
    """Takes lines in the order of their times, and counts.

    `own` is by tokenguard's log, `told` by the API server's; the two aren't added up, since they speak of the same
    requests. `since` and `until` are the first and the last day (UTC) that count.
    """

    def __init__(self, since: dt.date | None = None, until: dt.date | None = None) -> None:
        self._since = since or dt.date.min
        self._until = until or dt.date.max
        self._bounded = since is not None or until is not None
        self.own = Decisions()
        self.told = Decisions()
        self.stale: Table[Uses] = Table(Uses)
        self.legacy: Table[Uses] = Table(Uses)
        self.first: dt.datetime | None = None
        self.last: dt.datetime | None = None
        self.notes = Notes()
        self._pairs = Pairs(self.own.count)

    def read(self, lines: Iterable[Line], step: Callable[[], None] = lambda: None) -> None:
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
        denied = self.own.fates[Fate.DENIED] or self.told.fates[Fate.DENIED]
        return bool(denied or len(self.stale) or len(self.legacy))

    def _add(self, line: Line) -> None:
        time = line.time if line.own else line.stage_timestamp
        if time is None or (self._bounded and not self._since <= time.astimezone(dt.UTC).date() <= self._until):
            return
        self.first = min(self.first, time) if self.first else time
        self.last = max(self.last, time) if self.last else time
        if line.own:
            if line.sample:
                self.own.sampled += 1
                self.own.sampled_for += 1 / line.sample
            self._pairs.add(verdict(line))
            return
        if line.annotations:
            for one in from_event(line):
                if isinstance(one, Verdict):
                    self.told.count(one)
                else:
                    (self.legacy if one.legacy else self.stale).at(account_of(one.user)).add(one)


def account_of(user: str) -> str:
    """Return a ServiceAccount's user name as `namespace/name`; any other as it is."""
    return user.removeprefix(_ACCOUNT).replace(":", "/", 1) if user.startswith(_ACCOUNT) else user


def _day(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).date().isoformat()
