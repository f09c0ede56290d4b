"""What would come of a pod, a Secret or an account, as values; a part of the report (`webhook.scan.report`)."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.core.text import Word

FROM_HARMLESS_TO_NOT = tuple(Outcome)


class Change(Word):
    """What another policy means for something: what weighs most first.

    Where neither rejects it, what is done to its tokens weighs more than a warning; and a token that it no longer gets,
    or gets otherwise, more than one that is newly capped or mounted: somebody may count on it.
    """

    REJECTED = "newly rejected"
    REJECTED_FOR_MORE = "rejected for more"
    REJECTED_OTHERWISE = "rejected otherwise"
    UNPATCHED = "no longer patched"
    PATCHED_OTHERWISE = "patched otherwise"
    PATCHED = "newly patched"
    WARNED = "newly warned"
    WARNED_OTHERWISE = "warned otherwise"
    UNWARNED = "no longer warned"
    FINE = "newly fine"
    AUDITED_OTHERWISE = "audited otherwise"
    NONE = "unchanged"


@dataclass(frozen=True, slots=True)
class ReportedFinding:
    """One finding: the rule, what would be done, the place in the pod, and what is wrong there.

    `intended` is what would be done but for the policy's mode. `authored` is false for what isn't about what the
    author wrote: an injection, and the API server's own token. `other_account` is the ServiceAccount whose token it is
    about, None where that is the object's own.
    """

    rule: str
    action: Action
    intended: Action
    path: str
    detail: str
    authored: bool
    other_account: str | None = None


@dataclass(frozen=True, slots=True)
class AppliedExemption:
    """A rule that an exemption keeps from acting; `exemption` is its number in its policy, from zero.

    `accounts` are the ServiceAccounts whose tokens that is about: the object's own, others, or both.
    """

    rule: str
    exemption: int
    reason: str
    until: dt.date | None
    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What a policy would do if the object were created again.

    `note` says why no rule looked at it, where none did.
    """

    outcome: Outcome
    findings: tuple[ReportedFinding, ...] = ()
    exemptions: tuple[AppliedExemption, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class PodToken:
    """A token in a pod: whom it is for (empty: the API server), how long it really lives, and where it stands.

    `own` says that Kubernetes mounts it by itself. `secret` names the legacy Secret that holds it, if one does.
    """

    audience: str
    lifetime_seconds: int | None
    path: str
    own: bool = False
    secret: str = ""


@dataclass(frozen=True, slots=True)
class PodEvaluation:
    """What comes of a pod under one policy: the judgement, and the tokens it would then have (none if rejected)."""

    judgement: EvaluationResult
    tokens: tuple[PodToken, ...] = ()


@dataclass(frozen=True, slots=True)
class PodGroup:
    """Pods of one owner that are alike: their names, their account, the tokens they have, and what comes of them.

    `simulated` is what the other policy does, where there is one, and `change` what that changes.
    """

    names: tuple[str, ...]
    account: str
    tokens: tuple[PodToken, ...]
    verdict: PodEvaluation
    simulated: PodEvaluation | None = None
    change: Change = Change.NONE


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of some outcomes, allowed where there is none."""
    return max(outcomes, key=FROM_HARMLESS_TO_NOT.index, default=Outcome.ALLOWED)
