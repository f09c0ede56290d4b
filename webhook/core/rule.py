"""What a rule is."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from webhook.core.decision import Violation
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action

Check = Callable[[Any], Iterable[Violation]]
_LOWERED = (Action.WARN, Action.AUDIT, Action.OFF)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, what it looks at, and the pure function that finds it broken.

    `summary` says in one line when it is broken, `explanation` why that matters and what to do about it.
    `default` is what is done about it, `optional_actions` what a policy may choose besides; every rule may be
    lowered to warn, audit or off. `check` takes the view of its subjects (`webhook.core.pod_context`,
    `webhook.core.token_context`), `checks_by_subject` those of subjects that need a check of their own.
    """

    name: str
    summary: str
    explanation: str
    subjects: frozenset[Subject]
    default: Action
    check: Check
    optional_actions: tuple[Action, ...] = ()
    checks_by_subject: Mapping[Subject, Check] = field(default_factory=dict)

    @property
    def actions(self) -> tuple[Action, ...]:
        """All that a policy may do about it, from strong to weak."""
        allowed = {self.default, *self.optional_actions, *_LOWERED}
        return tuple(action for action in Action if action in allowed)

    def check_for(self, subject: Subject) -> Check:
        """Return the function that looks at a subject."""
        return self.checks_by_subject.get(subject, self.check)


PODS = frozenset({Subject.POD, Subject.TEMPLATE})
PODS_AND_EPHEMERAL_CONTAINERS = PODS | {Subject.EPHEMERAL_CONTAINERS}
