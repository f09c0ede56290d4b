"""What a scan found, as values: whatever output there is, is made of this and of nothing else.

Its JSON (`webhook.formatters.scan_json`) has these fields under these names, in camelCase; so a field that changes its
meaning or goes is a new version there. Every tuple is sorted. Lifetimes are in seconds, None where there is no end.
"""

import datetime as dt
from dataclasses import dataclass

from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import Change, EvaluationResult, PodGroup, worst
from webhook.scan.exemption_usage import ExemptionUsage
from webhook.scan.options import PolicyInfo, ScanFilters

_OWN_GROUPS = frozenset({"", "apps", "batch"})


def titled(group: str, kind: str, name: str) -> str:
    """Return what something is called: kind and name, and the group where the kind isn't Kubernetes' own."""
    return f"{kind}/{name}" if group in _OWN_GROUPS else f"{kind}.{group}/{name}"


@dataclass(frozen=True, slots=True)
class Owner:
    """What makes pods, or a pod that nothing makes: its pods, and what its next one would be.

    `group` is the API group of its kind, empty for Kubernetes' first one. `next_pod` is made from its template: it has
    no name, and for tokens those that the template asks for. None where there is no template, or where it couldn't be
    read.
    """

    namespace: str
    group: str
    kind: str
    name: str
    pods: tuple[PodGroup, ...]
    next_pod: PodGroup | None = None

    @property
    def title(self) -> str:
        """What it is called: its kind, with the group where that isn't Kubernetes' own, and its name."""
        return titled(self.group, self.kind, self.name)

    @property
    def groups(self) -> tuple[PodGroup, ...]:
        """All that is judged of it, the next pod last."""
        return (*self.pods, self.next_pod) if self.next_pod else self.pods

    @property
    def pod_count(self) -> int:
        """How many pods it has."""
        return sum(len(group.names) for group in self.pods)

    @property
    def outcome(self) -> Outcome:
        """The worst that would come of a pod of it."""
        return worst(group.verdict.judgement.outcome for group in self.groups)

    @property
    def simulated_outcome(self) -> Outcome | None:
        """The worst under the simulated policy, None where there is none."""
        outcomes = [group.simulated.judgement.outcome for group in self.groups if group.simulated]
        return worst(outcomes) if outcomes else None

    @property
    def change(self) -> Change:
        """The worst that the simulated policy changes."""
        changes = {group.change for group in self.groups}
        return next(change for change in Change if change in changes)


@dataclass(frozen=True, slots=True)
class _WarnedObject:
    """An object that is at most warned about; `simulated` and `change` as of pods."""

    name: str
    judgement: EvaluationResult
    simulated: EvaluationResult | None = None
    change: Change = Change.NONE

    @property
    def has_results(self) -> bool:
        """Whether there is anything to report."""
        return any(one and (one.findings or one.exemptions) for one in (self.judgement, self.simulated))


@dataclass(frozen=True, slots=True)
class CsiDriver(_WarnedObject):
    """A CSIDriver whose tokens would be warned about; `simulated` and `change` as of pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account(_WarnedObject):
    """A ServiceAccount that would be warned about; `simulated` and `change` as of pods."""

    namespace: str


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an owner's pods name a Secret; without any pod, its template alone does. `group` as of owners."""

    group: str
    kind: str
    name: str
    path: str
    pods: tuple[str, ...]

    @property
    def title(self) -> str:
        """What its owner is called."""
        return titled(self.group, self.kind, self.name)


@dataclass(frozen=True, slots=True)
class LegacySecret:
    """A Secret that holds a token without end.

    `is_copy` says that it is of another type than Kubernetes fills: somebody has put the text of a token into it, which
    is valid by that. Whose it is, and who refers to it, isn't known; it is never said to go, because what ends its
    token for good is deleting the ServiceAccount.

    `last_used` and `invalid_since` are days (UTC), as the API server notes them. `unused_since` is the day since which
    nobody has used it, the last day of use where there was one: None where nothing notes it. `listed_by` are the
    ServiceAccounts that list it, which is no use of it. `removable` says that nothing refers to it, and that it is
    marked invalid, or that nobody has used it for long enough; where not all could be read that may name it, that it is
    marked invalid and nothing that was read refers to it. Deleting it ends its token as long as nobody puts the text
    into another Secret of its name, which the rule `legacy-token-secret` refuses.
    """

    namespace: str
    name: str
    account: str
    created: dt.datetime | None
    last_used: dt.date | None
    unused_since: dt.date | None
    invalid_since: dt.date | None
    references: tuple[Reference, ...]
    listed_by: tuple[str, ...]
    removable: bool
    judgement: EvaluationResult
    simulated: EvaluationResult | None = None
    change: Change = Change.NONE
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class TokenUse:
    """How many tokens of an audience (empty: the API server) and a lifetime pods have.

    `now` they have them, `after` they had been created again under the policy, `simulated` under the other one.
    """

    audience: str
    lifetime_seconds: int | None
    now: int
    after: int
    simulated: int | None = None


@dataclass(frozen=True, slots=True)
class AccountWithoutPermissions:
    """An account whose API token is mounted in so many pods, though no binding gives it any right."""

    namespace: str
    name: str
    pods: int
    owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnreadResource:
    """What could not be read, why, what the report lacks for it, and what to do.

    `affects_decisions` says that what is told of pods may be wrong without it, `may_name_secrets` that templates are in
    it which may name legacy Secrets.
    """

    what: str
    why: str
    lacks: str
    advice: str
    affects_decisions: bool
    may_name_secrets: bool = False


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """How many of a kind of thing there are by what would come of them."""

    allowed: int = 0
    warned: int = 0
    patched: int = 0
    denied: int = 0

    @property
    def all(self) -> int:
        """How many there are."""
        return self.allowed + self.warned + self.patched + self.denied


@dataclass(frozen=True, slots=True)
class RuleCount:
    """In how many pods (or next pods of owners without any), Secrets and accounts of a namespace a rule is broken.

    Each counts once for each action. CSIDrivers count for the namespace "", as they have none.
    """

    namespace: str
    rule: str
    action: Action
    count: int
    simulated: int | None = None


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """The counts: pods and owners by outcome, also under the simulated policy.

    `finished_pods` are those that have run to their end, well or not: they are in no other count.
    """

    namespaces: int
    finished_pods: int
    pods: OutcomeCounts
    owners: OutcomeCounts
    secrets: OutcomeCounts
    simulated_pods: OutcomeCounts | None = None
    simulated_owners: OutcomeCounts | None = None
    simulated_secrets: OutcomeCounts | None = None


@dataclass(frozen=True, slots=True)
class ScanReport:
    """All that a scan found.

    `tracked_since` is the day (UTC) from which the use of legacy Secrets is known, None where it isn't.
    `unused_days` is for how long nobody must have used one before it can go. `accounts_without_permissions` is None
    where the bindings could not be read. `exemptions` are those of the policy, in its order, `rule_counts` the findings
    by rule and namespace. Of findings, also in results, there are those that `filters` ask for; outcomes, changes
    and exemptions follow from all.
    """

    time: dt.datetime
    cluster: str
    policy: PolicyInfo
    simulated: PolicyInfo | None
    filters: ScanFilters
    summary: ScanSummary
    rule_counts: tuple[RuleCount, ...]
    owners: tuple[Owner, ...]
    accounts: tuple[Account, ...]
    csi_drivers: tuple[CsiDriver, ...]
    legacy_secrets: tuple[LegacySecret, ...]
    tracked_since: dt.date | None
    unused_days: int
    tokens: tuple[TokenUse, ...]
    accounts_without_permissions: tuple[AccountWithoutPermissions, ...] | None
    exemptions: tuple[ExemptionUsage, ...]
    simulated_exemptions: tuple[ExemptionUsage, ...] | None
    unread: tuple[UnreadResource, ...]

    @property
    def names_unread(self) -> bool:
        """Whether something could not be read that may name legacy Secrets."""
        return any(one.may_name_secrets for one in self.unread)

    @property
    def exit_status(self) -> int:
        """1 where something would be rejected (by the simulated policy, if any), else 2 where not all could be read."""
        summary = self.summary
        if self.simulated:
            counted = [summary.simulated_owners, summary.simulated_secrets]
        else:
            counted = [summary.owners, summary.secrets]
        if any(counts.denied for counts in counted if counts):
            return 1
        return 2 if any(one.affects_decisions for one in self.unread) else 0
