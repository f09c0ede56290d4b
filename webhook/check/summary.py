"""What a run covered: how many objects were evaluated, with which outcome, and how many were not, and why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from webhook.core.decision import Coverage
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action

_STRONGEST = (Action.REJECT, Action.PATCH, Action.WARN)


@dataclass(frozen=True, slots=True)
class CheckSummary:
    """Numbers of objects.

    `objects` were evaluated, in so many `files`; of each counts only its strongest finding. `left_alone` counts the
    others by namespace, where rules don't apply by design, and `not_evaluated` by kind, where no rule is for it.
    """

    objects: int = 0
    files: int = 0
    denied: int = 0
    patched: int = 0
    warned: int = 0
    left_alone: Mapping[str, int] = field(default_factory=dict)
    not_evaluated: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it with the keys of the JSON report."""
        return {
            "objects": self.objects,
            "files": self.files,
            "denied": self.denied,
            "patched": self.patched,
            "warned": self.warned,
            "leftAlone": dict(self.left_alone),
            "notEvaluated": dict(self.not_evaluated),
        }


class SummaryCounter:
    """Counts objects one by one."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._objects = 0
        self._strongest: Counter[Action] = Counter()
        self._left_alone: Counter[str] = Counter()
        self._not_evaluated: Counter[str] = Counter()

    def add(self, path: str, actions: set[Action]) -> None:
        """Count an object of a file that was evaluated, with the actions of its findings that count."""
        self._files.add(path)
        self._objects += 1
        self._strongest.update([action for action in _STRONGEST if action in actions][:1])

    def add_other(self, coverage: Coverage, kind: str, namespace: str, subject: Subject | None) -> None:
        """Count an object that was not evaluated."""
        if coverage is Coverage.LEFT_ALONE:
            self._left_alone[namespace] += 1
        else:
            self._not_evaluated[f"{kind} without a pod template" if subject is Subject.TEMPLATE else kind] += 1

    def summary(self) -> CheckSummary:
        """Return what was counted, the most frequent namespaces and kinds first."""
        return CheckSummary(
            objects=self._objects,
            files=len(self._files),
            denied=self._strongest[Action.REJECT],
            patched=self._strongest[Action.PATCH],
            warned=self._strongest[Action.WARN],
            left_alone=dict(self._left_alone.most_common()),
            not_evaluated=dict(self._not_evaluated.most_common()),
        )
