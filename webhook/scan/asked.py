"""What a scan is asked for."""

import datetime as dt
from dataclasses import dataclass

from webhook.core.policy.model import Action, Mode, Policy

UNUSED_DAYS = 30
"""For how long nobody must have used one, unless something else is asked for: what runs once a month does within it."""


@dataclass(frozen=True, slots=True)
class PolicyUsed:
    """A policy that was judged by: its revision, its mode outside of overrides, and where it is from."""

    revision: str
    mode: Mode
    origin: str


@dataclass(frozen=True, slots=True)
class Filters:
    """What is looked at alone, `namespaces`, and what is told of that alone: `rules` and `actions`. Empty means all.

    What isn't told counts all the same: what would come of a pod depends on all that is found in it.
    """

    namespaces: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()

    @property
    def tell_all(self) -> bool:
        """Whether every finding is told."""
        return not (self.rules or self.actions)


NO_FILTERS = Filters()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a scan is asked for: the policy, the one to compare it with, where each is from, and what to look at."""

    policy: Policy
    policy_origin: str
    now: dt.datetime
    cluster: str
    simulated: Policy | None = None
    simulated_origin: str = ""
    filters: Filters = NO_FILTERS
    unused_days: int = UNUSED_DAYS

    @property
    def used(self) -> PolicyUsed:
        """The policy, as the report names it."""
        return PolicyUsed(self.policy.revision, self.policy.mode, self.policy_origin)

    @property
    def simulated_used(self) -> PolicyUsed | None:
        """The policy that it is compared with, likewise."""
        if self.simulated is None:
            return None
        return PolicyUsed(self.simulated.revision, self.simulated.mode, self.simulated_origin)
