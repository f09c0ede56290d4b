"""What would come of a pod, a Secret or an account, as values; a part of the report (`webhook.scan.report`)."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.core.text import Word

FROM_HARMLESS_TO_NOT = tuple(Outcome)


class Change(Word):
    """What another policy means for something: the worst first."""

    REJECTED = "newly rejected"
    REJECTED_OTHERWISE = "rejected for more"
    PATCHED = "newly patched"
    WARNED = "newly warned"
    FINE = "newly fine"
    NONE = "unchanged"


@dataclass(frozen=True, slots=True)
class Told:
    """One finding: the rule, what would be done, the place in the pod, and what is wrong there.

    `intended` is what would be done but for the policy's mode. `authored` is false for what isn't about what the
    author wrote: an injection, and the API server's own token.
    """

    rule: str
    action: Action
    intended: Action
    path: str
    detail: str
    authored: bool


@dataclass(frozen=True, slots=True)
class Exempted:
    """A rule that an exemption keeps from acting; `exemption` is its number in its policy, from zero."""

    rule: str
    exemption: int
    reason: str
    until: dt.date | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy would do if the object were created again.

    `note` says why no rule looked at it, where none did.
    """

    outcome: Outcome
    findings: tuple[Told, ...] = ()
    exemptions: tuple[Exempted, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A token in a pod: whom it is for (empty: the API server), how long it really lives, and where it stands.

    `own` says that Kubernetes mounts it by itself. `secret` names the legacy Secret that holds it, if one does.
    """

    audience: str
    lifetime_seconds: int | None
    path: str
    own: bool = False
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of a pod under one policy: the judgement, and the tokens it would then have (none if rejected)."""

    judgement: Judgement
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class PodGroup:
    """Pods of one owner that are alike: their names, their account, the tokens they have, and what comes of them.

    `simulated` is what the other policy does, where there is one.
    """

    names: tuple[str, ...]
    account: str
    tokens: tuple[Token, ...]
    verdict: Verdict
    simulated: Verdict | None = None

    @property
    def change(self) -> Change:
        """What the simulated policy changes."""
        return change_between(self.verdict.judgement, self.simulated.judgement) if self.simulated else Change.NONE


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of some outcomes, allowed where there is none."""
    return max(outcomes, key=FROM_HARMLESS_TO_NOT.index, default=Outcome.ALLOWED)


def change_between(before: Judgement, after: Judgement) -> Change:
    """Say what another policy's judgement changes: a new outcome, or new findings of the kind that counts there."""
    same = before.outcome is after.outcome
    known = {(one.rule, one.path) for one in before.findings if one.action is _COUNTS.get(after.outcome)}
    more = any((one.rule, one.path) not in known for one in after.findings if one.action is _COUNTS.get(after.outcome))
    if same and not more:
        return Change.NONE
    if same and after.outcome is Outcome.DENIED:
        return Change.REJECTED_OTHERWISE
    return _NEWLY[after.outcome]


_COUNTS = {Outcome.DENIED: Action.REJECT, Outcome.PATCHED: Action.PATCH, Outcome.WARNED: Action.WARN}
_NEWLY = {
    Outcome.DENIED: Change.REJECTED,
    Outcome.PATCHED: Change.PATCHED,
    Outcome.WARNED: Change.WARNED,
    Outcome.ALLOWED: Change.FINE,
}
