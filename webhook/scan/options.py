"""What a scan is asked for."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from webhook.core.policy.model import Action, Mode, Policy
from webhook.scan.audiences import ApiAudiences, under

UNUSED_DAYS = 30
"""For how long nobody must have used one, unless something else is asked for: what runs once a month does within it."""


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A policy that was judged by: its revision, its mode outside of overrides, and where it is from.

    `api_audiences` are the API server's, as they were judged with.
    """

    revision: str
    mode: Mode
    origin: str
    api_audiences: ApiAudiences


@dataclass(frozen=True, slots=True)
class ScanFilters:
    """What is looked at alone, `namespaces`, and what is told of that alone: `rules` and `actions`. Empty means all.

    What isn't told counts all the same: what would come of a pod depends on all that is found in it.
    """

    namespaces: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()

    @property
    def includes_all_findings(self) -> bool:
        """Whether every finding is told."""
        return not (self.rules or self.actions)


NO_FILTERS = ScanFilters()


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan is asked for: the policy, the one to compare it with, where each is from, and what to look at."""

    policy: Policy
    policy_origin: str
    now: dt.datetime
    cluster: str
    simulated: Policy | None = None
    simulated_origin: str = ""
    filters: ScanFilters = NO_FILTERS
    unused_days: int = UNUSED_DAYS

    @property
    def workloads(self) -> Mapping[tuple[str, str], str]:
        """The custom kinds that create pods of both policies, each with the JSON Pointer of its pod template."""
        return {**(self.simulated.workloads if self.simulated else {}), **self.policy.workloads}

    def used(self, audiences: ApiAudiences) -> PolicyInfo:
        """Return the policy, as the report names it; `audiences` are the API server's, as far as the cluster tells."""
        return _used(self.policy, self.policy_origin, audiences)

    def simulated_used(self, audiences: ApiAudiences) -> PolicyInfo | None:
        """Return the policy that it is compared with, likewise."""
        return _used(self.simulated, self.simulated_origin, audiences) if self.simulated else None


def _used(policy: Policy, origin: str, audiences: ApiAudiences) -> PolicyInfo:
    return PolicyInfo(policy.revision, policy.mode, origin, under(policy, audiences))
