"""The definition of a rule."""

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
    """One rule: its name, its subjects, and the pure function that finds violations.

    `summary` says in one line when it is violated, `explanation` why that matters and what to do about it.
    `default` is its action, `optional_actions` are others that a policy may choose; every rule may be lowered to warn,
    audit or off. `check` takes the context of its subjects (`webhook.core.pod_context`, `webhook.core.token_context`),
    `checks_by_subject` those of subjects that need a check of their own.
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
        """All actions that a policy may choose, from strong to weak."""
        allowed = {self.default, *self.optional_actions, *_LOWERED}
        return tuple(action for action in Action if action in allowed)

    def check_for(self, subject: Subject) -> Check:
        """Return the function that checks a subject."""
        return self.checks_by_subject.get(subject, self.check)


PODS = frozenset({Subject.POD, Subject.TEMPLATE})
PODS_AND_EPHEMERAL_CONTAINERS = PODS | {Subject.EPHEMERAL_CONTAINERS}
