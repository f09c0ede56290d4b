"""The report of a scan, as values: every output format is made from these, and the JSON is their encoding.

A key of the JSON is a field's name in camelCase. Every list is sorted, lifetimes are in seconds.
"""

import datetime as dt
from typing import Annotated

from msgspec import Meta, Struct

from webhook.core.decision import Outcome
from webhook.core.formatting import plain
from webhook.scan.api_types import TRACKING_TITLE
from webhook.scan.counts import RuleCount, ScanSummary
from webhook.scan.evaluation_result import (
    Admission,
    Audience,
    Change,
    EvaluationResult,
    Lifetime,
    Namespace,
    Path,
    PodGroup,
    ReportedFinding,
    worst_outcome,
)
from webhook.scan.exemption_usage import ExemptionUsage
from webhook.scan.options import PolicyInfo, ScanFilters
from webhook.scan.owners import OwnerIdentity, object_title
from webhook.scan.rbac import NO_PERMISSIONS, AccountGrants, Grant, grants_severity

Name = Annotated[str, Meta(description="The object's name.")]
Group = Annotated[str, Meta(description="The API group of the kind; empty for the core group.")]
Kind = Annotated[str, Meta(description="The object's kind.")]
ApiVersion = Annotated[str, Meta(description="The kind's apiVersion; empty if it is not known.")]
Uid = Annotated[str, Meta(description="The object's uid; empty if it is not known.")]


class ScannedWorkload(Struct, frozen=True, gc=False, rename="camel"):
    """Something that creates pods, or a pod that nothing creates."""

    namespace: Namespace
    group: Group
    kind: Kind
    name: Name
    pods: Annotated[tuple[PodGroup, ...], Meta(description="The running pods.")]
    next_pod: Annotated[
        PodGroup | None, Meta(description="The pod that the template creates next; null without a template.")
    ]
    pod_count: Annotated[int, Meta(description="The number of running pods.")]
    outcome: Annotated[Outcome, Meta(description="The worst outcome of its pods and its template.")]
    simulated_outcome: Annotated[Outcome | None, Meta(description="The worst outcome under the simulated policy.")]
    change: Annotated[Change, Meta(description="The most severe change.")]
    accounts: Annotated[
        tuple[AccountGrants, ...],
        Meta(description="The ServiceAccounts of its pods and of the legacy tokens that they name."),
    ]
    api_version: ApiVersion = ""
    uid: Uid = ""

    @classmethod
    def of(
        cls,
        key: tuple[str, str, str, str],
        pods: tuple[PodGroup, ...],
        next_pod: PodGroup | None,
        accounts: tuple[AccountGrants, ...],
        identity: OwnerIdentity,
    ) -> "ScannedWorkload":
        """Return the workload with this namespace, group, kind and name."""
        groups = (*pods, next_pod) if next_pod else pods
        simulated = [group.simulated.result.outcome for group in groups if group.simulated]
        changes = {group.change for group in groups}
        return cls(
            *key,
            pods=pods,
            next_pod=next_pod,
            pod_count=sum(len(group.names) for group in pods),
            outcome=worst_outcome(group.evaluation.result.outcome for group in groups),
            simulated_outcome=worst_outcome(simulated) if simulated else None,
            change=next(change for change in Change if change in changes),
            accounts=accounts,
            api_version=identity.api_version,
            uid=identity.uid,
        )

    @property
    def title(self) -> str:
        """Kind and name, with the group of a custom kind."""
        return object_title(self.group, self.kind, self.name)

    @property
    def severity(self) -> tuple[bool, int]:
        """A key that sorts workloads by what their tokens allow, the most dangerous first."""
        return min((grants_severity(account.grants) for account in self.accounts), default=NO_PERMISSIONS)

    @property
    def groups(self) -> tuple[PodGroup, ...]:
        """The pods, then the next pod."""
        return (*self.pods, self.next_pod) if self.next_pod else self.pods


class _WarnOnlyObject(Struct, frozen=True, gc=False, rename="camel"):
    """An object that is at most warned about."""

    name: Name
    result: Annotated[EvaluationResult, Meta(description="The evaluation by the policy.")]
    simulated: Annotated[EvaluationResult | None, Meta(description="The evaluation by the simulated policy.")]
    change: Annotated[Change, Meta(description="What the simulated policy changes.")]

    @property
    def has_results(self) -> bool:
        """Whether there is anything to report."""
        return any(result and (result.findings or result.exemptions) for result in (self.result, self.simulated))


class CsiDriver(_WarnOnlyObject, frozen=True, gc=False):
    """A CSIDriver whose tokens violate a rule."""

    uid: Uid = ""


class ServiceAccountResult(_WarnOnlyObject, frozen=True, gc=False):
    """A ServiceAccount that violates a rule."""

    namespace: Namespace
    uid: Uid = ""


class Reference(Struct, frozen=True, gc=False, rename="camel"):
    """A field of a workload that names a Secret."""

    group: Group
    kind: Kind
    name: Name
    path: Path
    pods: Annotated[tuple[str, ...], Meta(description="The pods that name it; none: only the template does.")]

    @property
    def title(self) -> str:
        """Kind and name, with the group of a custom kind."""
        return object_title(self.group, self.kind, self.name)


class LegacySecret(Struct, frozen=True, gc=False, rename="camel"):
    """A Secret that contains a token that never expires."""

    namespace: Namespace
    name: Name
    account: Annotated[str, Meta(description="The token's ServiceAccount; empty if it is not known.")]
    grants: Annotated[
        tuple[Grant, ...] | None,
        Meta(description="What RBAC allows that account, the most dangerous first; null if it is not known."),
    ]
    created: Annotated[dt.datetime | None, Meta(description="When the Secret was created.")]
    last_used: Annotated[dt.date | None, Meta(description="The day (UTC) of the last recorded use.")]
    unused_since: Annotated[
        dt.date | None, Meta(description="The day (UTC) since which no use is recorded; null if uses are not recorded.")
    ]
    invalid_since: Annotated[dt.date | None, Meta(description="The day (UTC) on which it was marked invalid.")]
    references: Annotated[tuple[Reference, ...], Meta(description="The fields of workloads that name it.")]
    listed_by: Annotated[tuple[str, ...], Meta(description="ServiceAccounts that list it, which is no use.")]
    image_pulls: Annotated[
        tuple[Reference, ...],
        Meta(
            description="Workloads and ServiceAccounts that name it under imagePullSecrets, which is no use: Kubernetes"
            " pulls no image with a Secret of its type."
        ),
    ]
    removable: Annotated[
        bool,
        Meta(
            description="Safe to delete: nothing refers to it, and it is marked invalid and was not refused since, or"
            " no use was recorded for `unusedDays`. If a template could not be read that may name it, only invalid ones"
            " are safe to delete."
        ),
    ]
    is_copy: Annotated[
        bool,
        Meta(
            description="Whether this is a Secret of another type that somebody copied a token into. Its account and"
            " the references to it are not known; deleting the token's ServiceAccount revokes the token."
        ),
    ]
    result: Annotated[
        EvaluationResult | None,
        Meta(
            description="The evaluation by the policy; null if the Secret is not in use: it is safe to delete or marked"
            " invalid, so nobody needs to create it again."
        ),
    ] = None
    simulated: Annotated[
        EvaluationResult | None, Meta(description="The evaluation by the simulated policy; null if it is not in use.")
    ] = None
    change: Annotated[Change, Meta(description="What the simulated policy changes.")] = Change.UNCHANGED
    uid: Uid = ""

    @property
    def in_use(self) -> bool:
        """Whether something may need it: a workload or template names it, its token was used, or that is not known."""
        return not self.removable and self.invalid_since is None


class UnevaluatedPod(Struct, frozen=True, gc=False, rename="camel"):
    """A running pod that the policy would deny as it is."""

    namespace: Namespace
    name: Name
    uid: Uid
    created: Annotated[dt.datetime | None, Meta(description="When it was created.")]
    owner: Annotated[str, Meta(description="Kind and name of the workload that creates it, or its own.")]
    admission: Annotated[
        Admission,
        Meta(
            description="not-evaluated: it is newer than webhook and policy, so it was admitted without evaluation."
            " before-installation: it is older than the webhook configuration. excluded: that excludes its namespace."
            " undetermined: it may have been admitted without evaluation, under an earlier policy, or by an exemption."
        ),
    ]
    findings: Annotated[tuple[ReportedFinding, ...], Meta(description="What denies it as it is.")]
    next_denied_by: Annotated[str, Meta(description="A rule that denies the next pod, too; empty: none does.")]
    hint: Annotated[str, Meta(description="What to do.")]


class TokenUse(Struct, frozen=True, gc=False, rename="camel"):
    """How many tokens of an audience and a lifetime are in pods."""

    audience: Audience
    lifetime_seconds: Lifetime
    now: Annotated[int, Meta(description="In running pods.")]
    recreated: Annotated[int, Meta(description="If all pods were recreated under the policy.")]
    simulated: Annotated[int | None, Meta(description="If all pods were recreated under the simulated policy.")] = None


class AccountWithTokens(Struct, frozen=True, gc=False, rename="camel"):
    """What a ServiceAccount may do, and where its tokens for the API server are."""

    namespace: Namespace
    name: Name
    grants: Annotated[
        tuple[Grant, ...] | None,
        Meta(description="What RBAC allows, the most dangerous first; null if roles or bindings could not be read."),
    ]
    pods: Annotated[int, Meta(description="The number of pods with a projected token of it for the API server.")]
    automounted_pods: Annotated[int, Meta(description="Of these pods, those in which Kubernetes mounts the token.")]
    authored_pods: Annotated[
        int, Meta(description="Of these pods, those whose author, or an injection, projects such a token.")
    ]
    workloads: Annotated[tuple[str, ...], Meta(description="The workloads of these pods.")]
    legacy_secrets: Annotated[tuple[str, ...], Meta(description="The Secrets with its tokens that never expire.")]

    @property
    def severity(self) -> tuple[bool, int]:
        """A key that sorts accounts, the most dangerous first."""
        return grants_severity(self.grants)


class UnreadResource(Struct, frozen=True, gc=False, rename="camel"):
    """Something that could not be read."""

    resource: Annotated[str, Meta(description="What could not be read.")]
    reason: Annotated[str, Meta(description="The API server's answer.")]
    missing: Annotated[str, Meta(description="What the report lacks because of it.")]
    hint: Annotated[str, Meta(description="What to do.")]
    affects_decisions: Annotated[bool, Meta(description="Whether outcomes may be wrong without it.")]
    may_name_secrets: Annotated[bool, Meta(description="Whether it may refer to legacy Secrets.")] = False

    @property
    def is_of_legacy_secrets(self) -> bool:
        """Whether these are the legacy Secrets, of the cluster or of a namespace."""
        return self.resource.partition(" in ")[0] == "secrets"

    @property
    def error(self) -> str:
        """What went wrong, and what to do, in one line."""
        return f"cannot read {self.resource}: {plain(self.reason)}; check: {self.hint}"


class ScanReport(Struct, frozen=True, gc=False, rename="camel"):
    """All results of a scan. Filters select findings; outcomes, changes and exemptions follow from all findings."""

    time: Annotated[dt.datetime, Meta(description="When the scan was made.")]
    cluster: Annotated[str, Meta(description="The API server's address.")]
    context: Annotated[str, Meta(description="The context of the kubeconfig; empty in a pod.")]
    policy: Annotated[PolicyInfo, Meta(description="The policy.")]
    simulated: Annotated[PolicyInfo | None, Meta(description="The simulated policy.")]
    filters: Annotated[ScanFilters, Meta(description="The filters of the command line.")]
    webhook_exists: Annotated[
        bool | None,
        Meta(
            description="Whether tokenguard's webhook configuration exists: without it, no pod is evaluated. Null if"
            " it could not be read."
        ),
    ]
    webhook_lacks_ca_bundle: Annotated[
        bool, Meta(description="Whether a webhook has no caBundle, so the API server cannot call it.")
    ]
    excluded_namespaces: Annotated[
        tuple[Namespace, ...],
        Meta(
            description="The namespaces, besides kube-system and tokenguard's own, that the webhook configuration"
            " excludes: nothing in them is evaluated."
        ),
    ]
    summary: Annotated[ScanSummary, Meta(description="Numbers by outcome.")]
    rule_counts: Annotated[tuple[RuleCount, ...], Meta(description="Findings by namespace and rule.")]
    workloads: Annotated[tuple[ScannedWorkload, ...], Meta(description="Everything that creates pods.")]
    accounts: Annotated[tuple[ServiceAccountResult, ...], Meta(description="ServiceAccounts with findings.")]
    csi_drivers: Annotated[tuple[CsiDriver, ...], Meta(description="CSIDrivers with findings.")]
    unevaluated_pods: Annotated[
        tuple[UnevaluatedPod, ...],
        Meta(
            description="Running pods that the policy would deny as they are; none if neither webhook configuration nor"
            " policy exists, as tokenguard is not installed then, or if the webhook configuration could not be read."
        ),
    ]
    legacy_secrets: Annotated[tuple[LegacySecret, ...], Meta(description="Secrets with tokens that never expire.")]
    tracked_since: Annotated[
        dt.date | None, Meta(description="The day (UTC) since which the API server records uses of legacy tokens.")
    ]
    unused_days: Annotated[int, Meta(description="Days without a recorded use after which a Secret is removable.")]
    tokens: Annotated[tuple[TokenUse, ...], Meta(description="Tokens in pods by audience and lifetime.")]
    accounts_with_tokens: Annotated[
        tuple[AccountWithTokens, ...], Meta(description="ServiceAccounts with tokens for the API server.")
    ]
    exemptions: Annotated[tuple[ExemptionUsage, ...], Meta(description="The policy's exemptions, in its order.")]
    simulated_exemptions: Annotated[
        tuple[ExemptionUsage, ...] | None, Meta(description="The simulated policy's exemptions.")
    ]
    unread: Annotated[tuple[UnreadResource, ...], Meta(description="What could not be read.")]
    exit_status: Annotated[
        int, Meta(description="2 if outcomes may be wrong, else 1 if something would be denied, else 0.")
    ]

    @property
    def may_be_wrong(self) -> bool:
        """Whether something could not be read that outcomes depend on."""
        return any(unread.affects_decisions for unread in self.unread)

    @property
    def uses_unread(self) -> bool:
        """Whether it could not be read since when uses of legacy tokens are recorded."""
        return any(unread.resource == TRACKING_TITLE for unread in self.unread)

    @property
    def names_unread(self) -> bool:
        """Whether something could not be read that may refer to legacy Secrets."""
        return any(unread.may_name_secrets for unread in self.unread)
