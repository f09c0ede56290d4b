"""What a rule is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from webhook.core.decision import Violation
from webhook.core.policy.model import Action
from webhook.core.request import Subject

_LOWERED = (Action.WARN, Action.AUDIT, Action.OFF)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, what it looks at, and the pure function that finds it broken.

    `summary` says in one line when it is broken, `explanation` why that matters and what to do about it.
    `default` is what is done about it, `may_also` what a policy may choose besides; every rule may be
    lowered to warn, audit or off. `check` takes the view of its subjects (`webhook.core.views`).
    """

    name: str
    summary: str
    explanation: str
    looks_at: frozenset[Subject]
    default: Action
    check: Callable[[Any], Iterable[Violation]]
    may_also: tuple[Action, ...] = ()

    @property
    def actions(self) -> tuple[Action, ...]:
        """All that a policy may do about it, from strong to weak."""
        allowed = {self.default, *self.may_also, *_LOWERED}
        return tuple(action for action in Action if action in allowed)


PODS = frozenset({Subject.POD, Subject.TEMPLATE})
PODS_AND_EPHEMERAL_CONTAINERS = PODS | {Subject.EPHEMERAL_CONTAINERS}
