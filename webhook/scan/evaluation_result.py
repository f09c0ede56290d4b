"""Results of an evaluation, as values of the report (`webhook.scan.report`)."""

import datetime as dt
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from webhook.core.decision import Outcome
from webhook.core.formatting import FastStrEnum
from webhook.core.policy.model import Action

_SEVERITY = tuple(Outcome)

Namespace = Annotated[str, Meta(description="The namespace; empty for a cluster-scoped object.")]
Rule = Annotated[str, Meta(description="The rule's name.")]
Path = Annotated[str, Meta(description="The path of the field in the pod.")]
Authored = Annotated[bool, Meta(description="False for injections and the API server token.")]
OtherAccount = Annotated[
    str | None, Meta(description="The ServiceAccount of the token, if it is not the object's own.")
]  # fmt: skip
Audience = Annotated[str, Meta(description="Who the token is issued for; empty: the API server.")]
Lifetime = Annotated[int | None, Meta(description="How long the token is valid, in seconds; null: it never expires.")]


class Change(FastStrEnum):
    """What the simulated policy changes, the most severe first."""

    NEWLY_DENIED = "newly denied"
    DENIED_FOR_MORE = "denied for more reasons"
    DENIED_DIFFERENTLY = "denied for other reasons"
    STILL_DENIED = "still denied with other patches or warnings"
    NO_LONGER_PATCHED = "no longer patched"
    PATCHED_DIFFERENTLY = "patched differently"
    NEWLY_PATCHED = "newly patched"
    NEWLY_WARNED = "newly warned"
    WARNED_DIFFERENTLY = "warned differently"
    NO_LONGER_WARNED = "no longer warned"
    NEWLY_ALLOWED = "newly allowed"
    NEWLY_AUDITED = "newly audited"
    AUDITED_DIFFERENTLY = "audited differently"
    NO_LONGER_AUDITED = "no longer audited"
    UNCHANGED = "unchanged"


class Admission(FastStrEnum):
    """How a running pod was admitted that the policy would deny as it is."""

    NOT_EVALUATED = "not-evaluated"
    BEFORE_INSTALLATION = "before-installation"
    EXCLUDED = "excluded"
    UNDETERMINED = "undetermined"


class ReportedFinding(Struct, frozen=True, gc=False, rename="camel"):
    """A violation and its action."""

    rule: Rule
    action: Annotated[Action, Meta(description="The action that the policy's mode allows.")]
    intended: Annotated[Action, Meta(description="The action without the limit of the mode.")]
    path: Path
    detail: Annotated[str, Meta(description="What is wrong and what to do.")]
    authored: Authored
    other_account: OtherAccount = None


class AppliedExemption(Struct, frozen=True, gc=False, rename="camel"):
    """A violation that an exemption covers."""

    rule: Rule
    path: Path
    detail: Annotated[str, Meta(description="What is wrong.")]
    authored: Authored
    exemption: Annotated[int, Meta(description="The exemption's number in the policy, from zero.")]
    reason: Annotated[str, Meta(description="The exemption's reason.")]
    until: Annotated[dt.date | None, Meta(description="The last day of the exemption; null: it never expires.")]
    other_account: OtherAccount = None


class EvaluationResult(Struct, frozen=True, gc=False, rename="camel"):
    """What a policy would do if the object were created again."""

    outcome: Annotated[Outcome, Meta(description="The outcome, from all findings.")]
    findings: Annotated[tuple[ReportedFinding, ...], Meta(description="The findings that the filters select.")] = ()
    exemptions: Annotated[tuple[AppliedExemption, ...], Meta(description="The exempt violations.")] = ()
    note: Annotated[str, Meta(description="Why no rule was applied; empty if rules were.")] = ""
    enforced: Annotated[Outcome | None, Meta(description="The outcome if the mode were enforce; null if it is.")] = None
    unlowered: Annotated[
        Outcome | None,
        Meta(
            description="The outcome if, besides, the override of the namespace lowered no rule; null if it does not."
        ),
    ] = None

    @property
    def outcome_enforced(self) -> Outcome:
        """The outcome under mode enforce."""
        return self.enforced or self.outcome


class PodToken(Struct, frozen=True, gc=False, rename="camel"):
    """A token in a pod."""

    audience: Audience
    lifetime_seconds: Lifetime
    path: Path
    own: Annotated[bool, Meta(description="Whether Kubernetes mounts the token by itself.")] = False
    secret: Annotated[str, Meta(description="The legacy Secret that contains the token; empty: projected.")] = ""
    api_audience: Annotated[
        str, Meta(description="The audience that the token names, if it is one of the API server's.")
    ] = ""

    @property
    def is_projected_for_api_server(self) -> bool:
        """Whether a volume projects the token, and the API server accepts it."""
        return not (self.audience or self.secret)


class PodEvaluation(Struct, frozen=True, gc=False, rename="camel"):
    """What happens to a pod under a policy."""

    result: Annotated[EvaluationResult, Meta(description="The evaluation of the pod.")]
    tokens: Annotated[tuple[PodToken, ...], Meta(description="The tokens of the new pod; none if it is denied.")] = ()


class PodGroup(Struct, frozen=True, gc=False, rename="camel"):
    """Pods of a workload that are alike."""

    names: Annotated[tuple[str, ...], Meta(description="The pods' names; none for a template.")]
    account: Annotated[str, Meta(description="The pods' ServiceAccount.")]
    tokens: Annotated[tuple[PodToken, ...], Meta(description="The tokens of the running pods.")]
    evaluation: Annotated[PodEvaluation, Meta(description="The evaluation by the policy.")]
    simulated: Annotated[PodEvaluation | None, Meta(description="The evaluation by the simulated policy.")]
    change: Annotated[Change, Meta(description="What the simulated policy changes.")]

    @property
    def simulated_result(self) -> EvaluationResult | None:
        """The result under the simulated policy."""
        return self.simulated.result if self.simulated else None

    def result(self, *, simulated: bool = False) -> EvaluationResult:
        """Return the result under the simulated policy, if there is one, or under the policy."""
        return (self.simulated if simulated and self.simulated else self.evaluation).result


def worst_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of the outcomes, allowed without any."""
    return max(outcomes, key=_SEVERITY.index, default=Outcome.ALLOWED)
